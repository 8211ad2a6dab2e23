//! Bars by load and server on a logarithmic axis, with the extremes of the rounds. Plain SVG.

use std::fmt::Write;

use super::figures::{Comparison, Figure, Spread};
use super::markdown::number as shown;
use crate::plot::{blank, escape, line, number, text, ticks};

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 920.0;
const TOP: f64 = 90.0;
const BAR: f64 = 12.0;
const GAP: f64 = 12.0;
const COLOURS: [&str; 4] = ["#1f6f8b", "#d1803a", "#6a8f3c", "#9a3b3b"];

/// A chart of `figure`; a load without any value of it is left out.
pub(crate) fn render(comparison: &Comparison, title: &str, figure: Figure) -> String {
    let mut groups = Vec::new();
    for load in &comparison.loads {
        let bars: Vec<_> = comparison
            .servers
            .iter()
            .zip(COLOURS)
            .filter_map(|(server, colour)| {
                Some((colour, comparison.spread(&load.name, &server.name, figure)?))
            })
            .collect();
        if !bars.is_empty() {
            groups.push((load.title.as_str(), bars));
        }
    }
    let bars: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let bottom = TOP + bars as f64 * BAR + groups.len() as f64 * GAP;
    let height = bottom + 40.0;
    let about =
        format!("{}; medians, extremes of the rounds; logarithmic", comparison.about.machine);
    let mut svg = blank((WIDTH, height), title, &about);
    legend(&mut svg, comparison);
    let axis =
        Axis::around(groups.iter().flat_map(|(_, bars)| bars.iter().map(|(_, spread)| spread)));
    axis.draw(&mut svg, bottom);
    let mut y = TOP;
    for (title, bars) in &groups {
        let middle = y + GAP / 2.0 + bars.len() as f64 * BAR / 2.0 + 4.0;
        text(&mut svg, LEFT - 8.0, middle, "end", "12px", title);
        y += GAP / 2.0;
        for (colour, spread) in bars {
            axis.bar(&mut svg, y, colour, spread);
            y += BAR;
        }
        y += GAP / 2.0;
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, comparison: &Comparison) {
    let mut x = LEFT;
    for (server, colour) in comparison.servers.iter().zip(COLOURS) {
        let _ =
            writeln!(svg, r#"<rect x="{x:.1}" y="64" width="12" height="12" fill="{colour}"/>"#);
        text(svg, x + 17.0, 74.0, "start", "12px", &server.name);
        x += 150.0;
    }
}

/// The logarithmic axis, from a power of ten to another.
struct Axis {
    min: f64,
    max: f64,
}

impl Axis {
    fn around<'a>(spreads: impl Iterator<Item = &'a Spread>) -> Self {
        let (low, high) = spreads.fold((f64::MAX, 0.0_f64), |(low, high), spread| {
            let low = if spread.min > 0.0 { low.min(spread.min) } else { low };
            // What is 0 has no place on the axis and is drawn at its beginning.
            let median = if spread.median > 0.0 { spread.median } else { f64::MAX };
            (low.min(median), high.max(spread.max))
        });
        if high == 0.0 {
            return Self { min: 1.0, max: 10.0 };
        }
        let min = 10_f64.powf(low.min(high).log10().floor());
        Self { min, max: 10_f64.powf(high.log10().ceil()).max(min * 10.0) }
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value / self.min).ln() / (self.max / self.min).ln();
        LEFT + (RIGHT - LEFT) * share.clamp(0.0, 1.0)
    }

    fn draw(&self, svg: &mut String, bottom: f64) {
        for value in ticks(self.min, self.max) {
            let x = self.x(value);
            line(svg, (x, TOP), (x, bottom), "#e3e3e3");
            // Only powers of ten have room for their names.
            if (value.log10() - value.log10().round()).abs() < 1e-9 {
                text(svg, x, bottom + 18.0, "middle", "12px", &number(value));
            }
        }
    }

    fn bar(&self, svg: &mut String, y: f64, colour: &str, spread: &Spread) {
        let (right, height) = (self.x(spread.median), BAR - 2.0);
        let width = (right - LEFT).max(1.0);
        let label = escape(&format!("{} ({} to {})", spread.median, spread.min, spread.max));
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{height}" fill="{colour}"><title>{label}</title></rect>"#
        );
        let middle = y + height / 2.0;
        line(svg, (self.x(spread.min), middle), (self.x(spread.max), middle), "#222222");
        let end = right.max(self.x(spread.max));
        text(svg, end + 5.0, y + height - 1.0, "start", "10px", &shown(spread.median));
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::FIGURES;
    use super::super::markdown::example;
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_figure_and_no_undefined_numbers() {
        let comparison = example();
        for (name, figure, _) in FIGURES {
            let svg = render(&comparison, "a < b", figure);
            let values = comparison.loads.iter().flat_map(|load| {
                comparison.servers.iter().map(|server| (load.name.clone(), server.name.clone()))
            });
            let wanted = values
                .filter(|(load, server)| comparison.spread(load, server, figure).is_some())
                .count();
            assert_eq!(svg.matches("<title>").count(), wanted, "{name}");
            assert!(svg.contains("a &lt; b"), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
        }
        let mut failed = example();
        for run in failed.runs.iter_mut().filter(|run| run.server == "us") {
            run.per_s = 0.0;
        }
        let svg = render(&failed, "t", FIGURES[0].1);
        assert!(svg.contains("<title>0 (0 to 0)</title>"), "nothing is a bar, too: {svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = render(&Comparison::default(), "nothing", FIGURES[0].1);
        assert!(empty.ends_with("</svg>\n") && !empty.contains("NaN"));
    }
}
