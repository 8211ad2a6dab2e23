use super::*;

#[test]
fn what_is_behind_comes_before_all_figures() {
    let text = render(&example());
    let behind = text.find("## Where us is behind").unwrap();
    assert!(behind < text.find("## Appends").unwrap());
}

#[test]
fn every_figure_has_its_row_and_what_is_missing_its_reason() {
    let text = render(&example());
    for wanted in [
        "| us | 1.0 | ours |",
        "| 4 KiB | 100 | 200 | 39.1 |",
        "* us: one append of 1 KiB at a time takes 1.50 times the disk's 4 KiB (p50).",
        "| two | us | 7.00 |",
        "| one | them (2 errors, generator 95 % busy) |",
        "| one | us | - | 2.00 | 0.50 | - | - | 0.25 | - | 1.25 | - | - |",
        "* one, them: another way",
        "from actual send to answer; what 1.5 s of load before did is left out.",
        "nothing is left out.",
        "; MiB of record bodies in all of them: us 78.0.",
        "* instructions: the kernel \\| has none",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!text.contains("NaN"));
}

#[test]
fn a_load_without_any_run_of_the_first_server_has_its_row() {
    let mut comparison = example();
    comparison.runs.retain(|run| run.server == "them");
    let text = render(&comparison);
    assert!(text.contains("| one | us (no run) | - | - | - | - | - | - | - |"), "{text}");
    assert!(!text.contains("| two |"), "nobody has run it: {text}");
}

#[test]
fn a_short_run_does_not_pass_for_a_measurement() {
    let mut comparison = example();
    assert!(!render(&comparison).contains("not a measurement"));
    comparison.about.rounds = 1;
    assert!(render(&comparison).contains("not a measurement"));
}

#[test]
fn a_report_is_the_same_after_its_way_through_json() {
    let comparison = example();
    let json = serde_json::to_string(&comparison).unwrap();
    let again: Comparison = serde_json::from_str(&json).unwrap();
    assert_eq!(render(&again), render(&comparison));
}
