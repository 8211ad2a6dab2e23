//! `latency.svg`: percentiles on a logarithmic axis, and latency over time. Plain SVG by hand.

use std::fmt::Write;

use hdrhistogram::Histogram;

use crate::collect::Second;

/// One line of the percentile panel.
pub(crate) struct Series<'a> {
    pub(crate) name: &'a str,
    pub(crate) histogram: &'a Histogram<u64>,
}

/// What is drawn.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: &'a str,
    pub(crate) series: &'a [Series<'a>],
    pub(crate) seconds: &'a [Second],
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 850.0;
const COLOURS: [&str; 3] = ["#1f6f8b", "#d1803a", "#9a3b3b"];
/// Points of a percentile line.
const STEPS: u32 = 400;
/// Room for one character of a label.
const LABEL_GAP: f64 = 15.0;

/// A panel's place on the sheet, and the values at its edges.
struct Panel {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Panel {
    fn new(top: f64, x_max: f64, (y_min, y_max): (f64, f64)) -> Self {
        let (left, right) = (80.0, WIDTH - 160.0);
        Self { left, right, top, bottom: top + 300.0, x_max, y_min, y_max }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + (self.right - self.left) * (value / self.x_max).clamp(0.0, 1.0)
    }

    /// Logarithmic, in milliseconds.
    fn y(&self, ms: f64) -> f64 {
        let share = (ms / self.y_min).ln() / (self.y_max / self.y_min).ln();
        self.bottom - (self.bottom - self.top) * share.clamp(0.0, 1.0)
    }

    fn frame(&self, svg: &mut String, title: &str, x_title: &str) {
        let Self { left, right, top, bottom, .. } = self;
        text(svg, *left, top - 12.0, "start", "600 14px", title);
        let middle = f64::midpoint(*left, *right);
        text(svg, middle, bottom + 40.0, "middle", "12px", x_title);
        let (x, y) = (left - 58.0, f64::midpoint(*top, *bottom));
        let _ = writeln!(
            svg,
            r#"<text transform="translate({x:.1},{y:.1}) rotate(-90)" text-anchor="middle" style="font-size:12px">latency (ms, logarithmic)</text>"#
        );
        for ms in ticks(self.y_min, self.y_max) {
            let y = self.y(ms);
            line(svg, (*left, y), (*right, y), "#e3e3e3");
            text(svg, left - 8.0, y + 4.0, "end", "12px", &number(ms));
        }
        line(svg, (*left, *bottom), (*right, *bottom), "#555555");
        line(svg, (*left, *top), (*left, *bottom), "#555555");
    }

    fn x_tick(&self, svg: &mut String, value: f64, label: &str) {
        let x = self.x(value);
        line(svg, (x, self.top), (x, self.bottom), "#eeeeee");
        text(svg, x, self.bottom + 18.0, "middle", "12px", label);
    }

    /// Draws `points` (already in data units) and names them at their right end.
    ///
    /// Two lines may lie on each other; the dashed one then lets the other show.
    fn curves(&self, svg: &mut String, curves: &[(String, Vec<(f64, f64)>)]) {
        let mut labels = Vec::new();
        for (i, ((name, points), colour)) in curves.iter().zip(COLOURS).enumerate() {
            let dash = if i == 1 { r#" stroke-dasharray="6 4""# } else { "" };
            let places: Vec<_> = points
                .iter()
                .map(|&(x, ms)| format!("{:.1},{:.1}", self.x(x), self.y(ms)))
                .collect();
            let Some(&(_, last_ms)) = points.last() else { continue };
            if let [only] = places.as_slice() {
                let (cx, cy) = only.split_once(',').expect("made above");
                let _ = writeln!(svg, r#"<circle cx="{cx}" cy="{cy}" r="3" fill="{colour}"/>"#);
            } else {
                let places = places.join(" ");
                let _ = writeln!(
                    svg,
                    r#"<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"{dash}/>"#
                );
            }
            labels.push((self.y(last_ms) + 4.0, colour, name));
        }
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut free_y = f64::MIN;
        for (y, colour, name) in labels {
            let y = y.max(free_y);
            free_y = y + LABEL_GAP;
            let (x, name) = (self.right + 8.0, escape(name));
            let _ = writeln!(
                svg,
                r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}" style="font-size:12px">{name}</text>"#
            );
        }
    }
}

/// An image with nothing but its title and subtitle; it wants a closing tag.
pub(crate) fn blank((width, height): (f64, f64), title: &str, subtitle: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width} {height:.0}\" font-family=\"sans-serif\" fill=\"#222222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 24.0, 32.0, "start", "600 16px", title);
    text(&mut svg, 24.0, 52.0, "start", "12px", subtitle);
    svg
}

/// The whole sheet.
pub(crate) fn render(plot: &Plot<'_>) -> String {
    let mut svg = blank((WIDTH, HEIGHT), plot.title, plot.subtitle);
    percentiles(&mut svg, plot);
    over_time(&mut svg, plot);
    svg.push_str("</svg>\n");
    svg
}

#[expect(clippy::cast_precision_loss, reason = "drawn to a tenth of a pixel")]
fn percentiles(svg: &mut String, plot: &Plot<'_>) {
    let count = plot.series.iter().map(|series| series.histogram.len()).max().unwrap_or(0);
    // Nines that the count supports: one in `count` is the last percentile with a sample.
    let nines = (count.max(10) as f64).log10();
    let curve = |histogram: &Histogram<u64>| -> Vec<(f64, f64)> {
        let at = |step: u32| {
            let x = nines * f64::from(step) / f64::from(STEPS);
            let quantile = if step == STEPS { 1.0 } else { 1.0 - 10_f64.powf(-x) };
            (x, histogram.value_at_quantile(quantile).max(1_000) as f64 / 1e6)
        };
        (0..=STEPS).map(at).collect()
    };
    let curves: Vec<_> = plot
        .series
        .iter()
        .map(|series| (series.name.to_owned(), curve(series.histogram)))
        .collect();
    let panel = Panel::new(100.0, nines, bounds(&curves));
    let title = format!("Latency by percentile ({count} appends)");
    panel.frame(svg, &title, "percentile (logarithmic in 1 - p; right edge: maximum)");
    let labels = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];
    for (label, x) in labels.into_iter().zip(0..) {
        if f64::from(x) <= nines {
            panel.x_tick(svg, f64::from(x), label);
        }
    }
    panel.x_tick(svg, 2_f64.log10(), "50");
    panel.curves(svg, &curves);
}

#[expect(clippy::cast_precision_loss, reason = "drawn to a tenth of a pixel")]
fn over_time(svg: &mut String, plot: &Plot<'_>) {
    let curve = |value: fn(&Second) -> u64| -> Vec<(f64, f64)> {
        plot.seconds.iter().map(|s| (s.at_s, value(s).max(1_000) as f64 / 1e6)).collect()
    };
    let curves = [
        ("p50".to_owned(), curve(|second| second.p50_ns)),
        ("p99".to_owned(), curve(|second| second.p99_ns)),
        ("maximum".to_owned(), curve(|second| second.max_ns)),
    ];
    let x_max = plot.seconds.last().map_or(1.0, |second| second.at_s + 0.5);
    let panel = Panel::new(490.0, x_max, bounds(&curves));
    panel.frame(svg, "Latency over time, by second of the answer", "time since the warm-up (s)");
    let gap = round_up(x_max / 10.0).max(1.0);
    let mut x = 0.0;
    while x <= x_max {
        panel.x_tick(svg, x, &number(x));
        x += gap;
    }
    panel.curves(svg, &curves);
}

/// Edges for the logarithmic axis: the next 1, 2 or 5 below and above all values.
fn bounds(curves: &[(String, Vec<(f64, f64)>)]) -> (f64, f64) {
    let values = || curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    if high == 0.0 {
        return (0.1, 10.0);
    }
    let below = 1.0 / round_up(1.0 / low);
    (below, round_up(high).max(below * 10.0))
}

/// The smallest of 1, 2, 5 times a power of ten that is not below `value`.
pub(crate) fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= value * 0.999_999).unwrap_or(10.0 * power)
}

/// 1, 2, 5 per decade, or only powers of ten when there are many.
pub(crate) fn ticks(min: f64, max: f64) -> Vec<f64> {
    let steps: &[f64] = if max / min > 10_000.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    (-4..=7)
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .filter(|ms| (min * 0.999..=max * 1.001).contains(ms))
        .collect()
}

/// Without trailing zeros.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#
    );
}

pub(crate) fn text(svg: &mut String, x: f64, y: f64, anchor: &str, font: &str, content: &str) {
    let (weight, size) = font.split_once(' ').unwrap_or(("400", font));
    let content = escape(content);
    let _ = writeln!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" style="font-weight:{weight};font-size:{size}">{content}</text>"#
    );
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::histogram;

    #[test]
    fn axis_edges_are_round_numbers_around_the_values() {
        for (values, expected) in [
            (vec![0.3, 7.0], (0.2, 10.0)),
            (vec![1.0, 1.0], (1.0, 10.0)),
            (vec![0.05, 501.0], (0.05, 1_000.0)),
            (vec![], (0.1, 10.0)),
        ] {
            let points = values.into_iter().map(|ms| (0.0, ms)).collect();
            let (low, high) = bounds(&[(String::new(), points)]);
            assert!((low - expected.0).abs() < 1e-9 && (high - expected.1).abs() < 1e-9);
        }
    }

    #[test]
    fn a_plot_names_its_lines_and_has_no_undefined_numbers() {
        let mut latency = histogram();
        for us in 1..2_000 {
            latency.record(us * 1_000).unwrap();
        }
        let series = [Series { name: "a < b", histogram: &latency }];
        let second = |at_s| Second { at_s, p50_ns: 1_000, p99_ns: 2_000_000, max_ns: 9_000_000 };
        for seconds in [vec![], vec![second(0.5)], vec![second(0.5), second(1.5)]] {
            let plot = Plot { title: "t & u", subtitle: "s", series: &series, seconds: &seconds };
            let svg = render(&plot);
            for wanted in ["t &amp; u", "a &lt; b", ">99.9<", "latency (ms, logarithmic)"] {
                assert!(svg.contains(wanted), "{wanted}");
            }
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}
