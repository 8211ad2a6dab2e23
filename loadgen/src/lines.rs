//! A sheet of lines over two axes, each linear or logarithmic. Plain SVG by hand.

use std::fmt::Write;

use crate::plot::{blank, escape, line, number, round_up, text, ticks};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = WIDTH - 170.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = HEIGHT - 64.0;
const COLOURS: [&str; 4] = ["#1f6f8b", "#d1803a", "#6a8f3c", "#9a3b3b"];
/// Room for one character of a label.
const LABEL_GAP: f64 = 15.0;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From 0 on, in equal steps.
    Linear,
    /// By factors; what is 0 or less has no place on it.
    Logarithmic,
}

/// A named line through points, drawn from left to right; at most four of them.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A dashed line across the sheet that marks a value.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// At this place of the horizontal axis.
    AtX(f64, String),
    /// At this place of the vertical one.
    AtY(f64, String),
}

/// What is drawn.
pub(crate) struct Sheet<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) x: (&'a str, Scale),
    pub(crate) y: (&'a str, Scale),
    pub(crate) lines: &'a [Line],
    pub(crate) marks: &'a [Mark],
}

/// One axis: the values at its ends and where on the sheet these are.
struct Axis {
    scale: Scale,
    min: f64,
    max: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Around all of `values` that have a place on it.
    fn around(scale: Scale, values: impl Iterator<Item = f64>, (from, to): (f64, f64)) -> Self {
        let has_place = |value: &f64| value.is_finite() && (scale == Scale::Linear || *value > 0.0);
        let (low, high) = values
            .filter(has_place)
            .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let (min, max) = match scale {
            _ if high <= 0.0 => (if scale == Scale::Linear { 0.0 } else { 0.1 }, 1.0),
            Scale::Linear => (0.0, round_up(high)),
            Scale::Logarithmic => {
                let below = 1.0 / round_up(1.0 / low);
                (below, round_up(high).max(below * 2.0))
            }
        };
        Self { scale, min, max, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => value / self.max,
            Scale::Logarithmic => (value / self.min).ln() / (self.max / self.min).ln(),
        };
        self.from + (self.to - self.from) * share.clamp(0.0, 1.0)
    }

    fn has_place_for(&self, value: f64) -> bool {
        value.is_finite() && (self.scale == Scale::Linear || value > 0.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Logarithmic => ticks(self.min, self.max),
            Scale::Linear => {
                let step = round_up(self.max / 10.0);
                (0..=10)
                    .map(|n| f64::from(n) * step)
                    .take_while(|t| *t <= self.max * 1.001)
                    .collect()
            }
        }
    }
}

/// The whole sheet.
pub(crate) fn render(sheet: &Sheet<'_>) -> String {
    let mut svg = blank((WIDTH, HEIGHT), sheet.title, sheet.subtitle);
    let points = || sheet.lines.iter().flat_map(|line| line.points.iter().copied());
    let marks = |is_x: bool| {
        sheet.marks.iter().filter_map(move |mark| match mark {
            Mark::AtX(value, _) if is_x => Some(*value),
            Mark::AtY(value, _) if !is_x => Some(*value),
            _ => None,
        })
    };
    let x = points().map(|point| point.0).chain(marks(true));
    let x = Axis::around(sheet.x.1, x, (LEFT, RIGHT));
    let y = points().map(|point| point.1).chain(marks(false));
    let y = Axis::around(sheet.y.1, y, (BOTTOM, TOP));
    frame(&mut svg, sheet, &x, &y);
    for mark in sheet.marks {
        draw_mark(&mut svg, mark, &x, &y);
    }
    draw_lines(&mut svg, sheet.lines, &x, &y);
    svg.push_str("</svg>\n");
    svg
}

fn frame(svg: &mut String, sheet: &Sheet<'_>, x: &Axis, y: &Axis) {
    let logarithmic = |(title, scale): (&str, Scale)| match scale {
        Scale::Linear => title.to_owned(),
        Scale::Logarithmic => format!("{title} (logarithmic)"),
    };
    for value in x.ticks() {
        let at = x.at(value);
        line(svg, (at, TOP), (at, BOTTOM), "#eeeeee");
        text(svg, at, BOTTOM + 18.0, "middle", "12px", &number(value));
    }
    for value in y.ticks() {
        let at = y.at(value);
        line(svg, (LEFT, at), (RIGHT, at), "#e3e3e3");
        text(svg, LEFT - 8.0, at + 4.0, "end", "12px", &number(value));
    }
    line(svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), "#555555");
    line(svg, (LEFT, TOP), (LEFT, BOTTOM), "#555555");
    let middle = f64::midpoint(LEFT, RIGHT);
    text(svg, middle, BOTTOM + 42.0, "middle", "12px", &logarithmic(sheet.x));
    let title = escape(&logarithmic(sheet.y));
    let middle = f64::midpoint(TOP, BOTTOM);
    let _ = writeln!(
        svg,
        r#"<text transform="translate(22,{middle:.1}) rotate(-90)" text-anchor="middle" style="font-size:12px">{title}</text>"#
    );
}

fn draw_mark(svg: &mut String, mark: &Mark, x: &Axis, y: &Axis) {
    let ((x1, y1), (x2, y2), (label_x, label_y), name) = match mark {
        Mark::AtX(value, name) => {
            let at = x.at(*value);
            ((at, TOP), (at, BOTTOM), (at + 4.0, TOP - 4.0), name)
        }
        Mark::AtY(value, name) => {
            let at = y.at(*value);
            ((LEFT, at), (RIGHT, at), (LEFT + 4.0, at - 4.0), name)
        }
    };
    let _ = writeln!(
        svg,
        r##"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="#777777" stroke-dasharray="3 3"/>"##
    );
    text(svg, label_x, label_y, "start", "11px", name);
}

/// Each line with its points, named at its right end.
fn draw_lines(svg: &mut String, lines: &[Line], x: &Axis, y: &Axis) {
    let mut labels = Vec::new();
    for (Line { name, points }, colour) in lines.iter().zip(COLOURS) {
        let is_shown = |&&(a, b): &&(f64, f64)| x.has_place_for(a) && y.has_place_for(b);
        let places: Vec<_> =
            points.iter().filter(is_shown).map(|&(a, b)| (x.at(a), y.at(b))).collect();
        let Some(&(_, last_y)) = places.last() else { continue };
        let path: Vec<_> = places.iter().map(|(a, b)| format!("{a:.1},{b:.1}")).collect();
        let path = path.join(" ");
        let _ = writeln!(
            svg,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>"#
        );
        for (cx, cy) in places {
            let _ = writeln!(svg, r#"<circle cx="{cx:.1}" cy="{cy:.1}" r="2.6" fill="{colour}"/>"#);
        }
        labels.push((last_y + 4.0, colour, name));
    }
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free_y = f64::MIN;
    for (at, colour, name) in labels {
        let at = at.max(free_y);
        free_y = at + LABEL_GAP;
        let (left, name) = (RIGHT + 8.0, escape(name));
        let _ = writeln!(
            svg,
            r#"<text x="{left:.1}" y="{at:.1}" fill="{colour}" style="font-size:12px">{name}</text>"#
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_ends_of_their_axis_in_their_order() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let values = [3.0, 40.0, 777.0];
            let axis = Axis::around(scale, values.into_iter(), (100.0, 500.0));
            let places = values.map(|value| axis.at(value));
            assert!(100.0 <= places[0] && places[0] < places[1], "{scale:?}: {places:?}");
            assert!(places[1] < places[2] && places[2] <= 500.0, "{scale:?}: {places:?}");
            let ticks = axis.ticks();
            assert!(ticks.len() >= 3 && ticks.is_sorted(), "{scale:?}: {ticks:?}");
        }
        let linear = Axis::around(Scale::Linear, [8.0].into_iter(), (0.0, 100.0));
        assert_eq!((linear.min, linear.max), (0.0, 10.0));
        let turned = Axis::around(Scale::Linear, [10.0].into_iter(), (400.0, 80.0));
        assert_eq!((turned.at(0.0), turned.at(10.0)), (400.0, 80.0), "upwards");
    }

    #[test]
    fn a_sheet_names_what_it_shows_and_has_no_undefined_numbers() {
        let cases: [&[(f64, f64)]; 4] =
            [&[], &[(0.0, 0.0)], &[(5.0, 1.0)], &[(1.0, 2.0), (1e6, 0.01), (f64::NAN, 1.0)]];
        for points in cases {
            for scale in [Scale::Linear, Scale::Logarithmic] {
                let lines = [Line { name: "a < b".to_owned(), points: points.to_vec() }];
                let marks = [Mark::AtX(3.0, "knee".to_owned()), Mark::AtY(4.0, "bound".to_owned())];
                let svg = render(&Sheet {
                    title: "t & u",
                    subtitle: "s",
                    x: ("rate", scale),
                    y: ("latency", scale),
                    lines: &lines,
                    marks: &marks,
                });
                for wanted in ["t &amp; u", ">knee<", ">bound<", "latency"] {
                    assert!(svg.contains(wanted), "{wanted}: {points:?}");
                }
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
                let is_named = svg.contains("a &lt; b");
                let has_place = points.iter().any(|&(x, y)| {
                    x.is_finite() && (scale == Scale::Linear || (x > 0.0 && y > 0.0))
                });
                assert_eq!(is_named, has_place, "{points:?} {scale:?}");
            }
        }
    }
}
