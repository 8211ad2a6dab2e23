//! Where the first server of a comparison is behind another: what the report says first.

use std::fmt::Write;

use super::figures::{Comparison, FIGURES, LoadFacts, Spread};
use super::markdown::spread;

/// Ratios this close to 1 are no difference: in an open loop all that keep up have the same rate.
const EQUAL: f64 = 0.01;

/// The whole section.
pub(super) fn section(text: &mut String, comparison: &Comparison) {
    let Some(ours) = comparison.servers.first().map(|server| &server.name) else { return };
    let _ = writeln!(text, "\n## Where {ours} is behind\n");
    let lacking: Vec<_> =
        comparison.loads.iter().filter_map(|load| fewer(comparison, load)).collect();
    for line in &lacking {
        let _ = writeln!(text, "* {line}");
    }
    let (mut rows, mut sums) = (Vec::new(), Vec::new());
    for server in comparison.servers.iter().skip(1) {
        let (mut compared, mut behind) = (0, 0);
        for load in &comparison.loads {
            let ratios = FIGURES.map(|(_, figure, is_more_better)| {
                Some((comparison.ratio(&load.name, &server.name, figure)?, is_more_better))
            });
            compared += ratios.iter().flatten().count();
            let cells = ratios.map(|ratio| {
                let (ratio, is_more_better) = ratio?;
                is_behind(ratio, is_more_better).then(|| shown(ratio))
            });
            behind += cells.iter().flatten().count();
            if cells.iter().any(Option::is_some) {
                let cells = cells.map(Option::unwrap_or_default).join(" | ");
                rows.push(format!("| {} | {} | {cells} |", load.title, server.name));
            }
        }
        if compared > 0 {
            sums.push(format!("{}: {behind} of {compared}", server.name));
        }
    }
    if sums.is_empty() {
        let _ = writeln!(text, "* Nothing could be compared.");
        return;
    }
    let _ = writeln!(text, "* Figures in which {ours} is behind: {}.", sums.join("; "));
    if !rows.is_empty() {
        let names = FIGURES.map(|(name, ..)| name).join(" | ");
        let _ = writeln!(
            text,
            "\n{ours} over the other; empty where it is not behind, *mixed* where it is not so in \
             every round.\n\n| load | behind | {names} |\n|---|---|---:|---:|---:|\n{}",
            rows.join("\n")
        );
    }
}

/// What is said when a run failed that another server has.
fn fewer(comparison: &Comparison, load: &LoadFacts) -> Option<String> {
    let count = |server: &str| comparison.runs_of(&load.name, server).count();
    let ours = &comparison.servers.first()?.name;
    let others = comparison.servers.iter().skip(1);
    let (most, whose) = others.map(|server| (count(&server.name), &server.name)).max()?;
    let mine = count(ours);
    (mine < most).then(|| {
        let title = &load.title;
        format!("**{title}: {ours} has {mine} of the {most} runs of {whose}**; see what is missing")
    })
}

fn is_behind(ratio: Spread, is_more_better: bool) -> bool {
    (ratio.median < 1.0) == is_more_better && (ratio.median - 1.0).abs() >= EQUAL
}

fn shown(ratio: Spread) -> String {
    let is_mixed = ratio.min < 1.0 && ratio.max > 1.0;
    format!("{}{}", spread(ratio), if is_mixed { " *mixed*" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::super::markdown::example;
    use super::*;

    fn of(comparison: &Comparison) -> String {
        let mut text = String::new();
        section(&mut text, comparison);
        text
    }

    #[test]
    fn only_figures_that_are_worse_are_shown_with_their_spread() {
        let text = of(&example());
        let row = "| one | them | 0.50 (0.40-0.80) |  | 1.10 (0.90-2.00) *mixed* |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("is behind: them: 2 of 3."), "{text}");
        assert!(!text.contains("two"), "{text}");
        assert!(of(&Comparison { runs: Vec::new(), ..example() }).contains("Nothing could be"));
    }

    #[test]
    fn a_load_that_failed_here_and_not_there_comes_first() {
        let mut comparison = example();
        comparison.runs.retain(|run| run.server == "them" || run.round == 3);
        let text = of(&comparison);
        assert!(text.contains("\n\n* **one: us has 1 of the 3 runs of them**; "), "{text}");
        comparison.runs.retain(|run| run.server == "them");
        let text = of(&comparison);
        assert!(
            text.contains("one: us has 0 of the 3 runs") && text.contains("Nothing could"),
            "{text}"
        );
        assert!(!text.contains("two:"), "nobody has run it: {text}");
    }

    #[test]
    fn a_round_without_a_single_append_counts_as_nothing() {
        let mut comparison = example();
        for run in comparison.runs.iter_mut().filter(|run| run.server == "us" && run.round < 3) {
            (run.per_s, run.p50_us, run.p99_us) = (0.0, None, None);
        }
        let text = of(&comparison);
        assert!(text.contains("| one | them | 0.00 (0.00-0.80) |"), "{text}");
    }
}
