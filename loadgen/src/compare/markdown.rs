//! `compare.md`: a pure function of what was found. Where the first server is behind comes first.

use std::fmt::Write;

use super::behind;
use super::figures::{Comparison, Count, FIGURES, LoadFacts, LoadKind, Run, Spread};

/// The plots that the report shows, written beside it.
pub(crate) const PLOTS: [(&str, &str); 2] =
    [("rates.svg", "appends and records a second"), ("p99.svg", "99th percentiles")];

/// From this share of the time on, the load generator may be what limits a rate.
const GENERATOR_BUSY: f64 = 0.9;

/// The whole report.
pub(crate) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    head(&mut text, comparison);
    behind::section(&mut text, comparison);
    for (file, alt) in PLOTS {
        let _ = writeln!(text, "\n![{alt}]({file})");
    }
    servers(&mut text, comparison);
    disk(&mut text, comparison);
    let after = format!("what {} s of load before did is left out", comparison.about.warmup_s);
    for (kind, title, about) in [
        (
            LoadKind::Append,
            "Appends",
            format!("Closed loop; latency from actual send to answer; {after}."),
        ),
        (LoadKind::CatchUp, "Catch-up reads", catch_up(comparison)),
        (
            LoadKind::Follow,
            "Followers",
            format!(
                "Records a second at all followers; latency from the intended send of the append, in \
                 an open loop, to the follower; {after}."
            ),
        ),
    ] {
        table(&mut text, comparison, kind, title, &about);
    }
    counts(&mut text, comparison);
    notes(&mut text, comparison);
    text
}

/// What catch-up is, and how much there was to read.
fn catch_up(comparison: &Comparison) -> String {
    let filled = comparison.servers.iter().filter_map(|server| {
        let runs = comparison.runs.iter().filter(|run| run.server == server.name);
        let mib = Spread::of(runs.filter_map(|run| run.filled_mib))?;
        Some(format!("{} {}", server.name, spread(mib)))
    });
    let filled: Vec<_> = filled.collect();
    let mut about =
        "Whole streams, again and again, from the first connection on: nothing is left \
                     out. Records a second. The streams were written just before, so that memory \
                     may still hold them"
            .to_owned();
    if !filled.is_empty() {
        let _ = write!(about, "; MiB of record bodies in all of them: {}", filled.join(", "));
    }
    about.push('.');
    about
}

fn head(text: &mut String, comparison: &Comparison) {
    let about = &comparison.about;
    let _ = writeln!(text, "# Comparison\n");
    for (name, value) in [("Of", &about.label), ("Machine", &about.machine)] {
        if !value.is_empty() {
            let _ = writeln!(text, "* {name}: {}", cell(value));
        }
    }
    let rounds = if about.rounds == 1 { "round" } else { "rounds" };
    let _ = writeln!(
        text,
        "* {} {rounds} of {} s for each load and server, one after the other, each with a new server \
         on a new directory of the same disk. The load generator runs on the same machine.\n\
         * Figures are medians over the rounds, with the extremes in brackets; ratios are taken \
         within each round.",
        about.rounds, about.duration_s
    );
    if about.rounds < 3 {
        let _ =
            writeln!(text, "* **Fewer than 3 rounds: a check that it runs, not a measurement.**");
    }
}

fn servers(text: &mut String, comparison: &Comparison) {
    let _ = writeln!(text, "\n## Who is compared\n\n| server | version | terms |\n|---|---|---|");
    for server in &comparison.servers {
        let (version, terms) = (cell(&server.version), cell(&server.terms));
        let _ = writeln!(text, "| {} | {version} | {terms} |", server.name);
    }
    if !comparison.about.command.is_empty() {
        let _ = writeln!(text, "\nHow it was run: {}", cell(&comparison.about.command));
    }
}

fn disk(text: &mut String, comparison: &Comparison) {
    let mut sizes: Vec<_> = comparison.disk.iter().map(|run| run.write_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n## The disk alone\n\nDirect write (O_DIRECT) + fdatasync of written blocks, one after the \
         other.\n\n| write | p50 us | p99 us | MiB/s at p50 |\n|---|---:|---:|---:|"
    );
    for size in sizes {
        let of_size = || comparison.disk.iter().filter(move |run| run.write_bytes == size);
        let [p50, p99] = [
            Spread::of(of_size().map(|run| run.p50_us)),
            Spread::of(of_size().map(|run| run.p99_us)),
        ];
        let rate = Spread::of(of_size().map(|run| size as f64 / 1.048_576 / run.p50_us));
        let _ = writeln!(
            text,
            "| {} KiB | {} | {} | {} |",
            size >> 10,
            shown(p50),
            shown(p99),
            shown(rate)
        );
    }
    against_disk(text, comparison);
}

/// A single append's acknowledgement as a multiple of the disk's own write and sync.
fn against_disk(text: &mut String, comparison: &Comparison) {
    let load = "unary-1k-c1";
    let mut lines = Vec::new();
    for server in &comparison.servers {
        let ratios = comparison.runs_of(load, &server.name).filter_map(|run| {
            let disk = comparison.disk.iter();
            let raw =
                disk.into_iter().find(|raw| raw.round == run.round && raw.write_bytes == 4_096)?;
            Some(run.p50_us? / raw.p50_us)
        });
        if let Some(ratio) = Spread::of(ratios) {
            lines.push(format!(
                "* {}: one append of 1 KiB at a time takes {} times the disk's 4 KiB (p50).",
                server.name,
                spread(ratio)
            ));
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(text, "\n{}", lines.join("\n"));
    }
}

fn table(text: &mut String, comparison: &Comparison, kind: LoadKind, title: &str, about: &str) {
    let loads: Vec<_> = comparison.loads.iter().filter(|load| load.kind == kind).collect();
    if loads.is_empty() {
        return;
    }
    let ours = comparison.servers.first().map_or("", |server| &server.name);
    let _ = writeln!(
        text,
        "\n## {title}\n\n{about}\n\n| load | server | rate /s | MiB/s | p50 us | p99 us | \
         {ours} / it: rate | p50 | p99 |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    );
    for load in loads {
        for server in &comparison.servers {
            row(text, comparison, load, &server.name);
        }
    }
}

fn row(text: &mut String, comparison: &Comparison, load: &LoadFacts, server: &str) {
    let is_first = comparison.servers.first().is_some_and(|first| first.name == server);
    let has_run = |server: &str| comparison.runs_of(&load.name, server).next().is_some();
    let is_known = comparison.servers.iter().any(|server| has_run(&server.name));
    // Where the first one failed and another did not, its row says so.
    let is_shown = has_run(server) || (is_first && is_known);
    if !is_shown {
        return;
    }
    let mib = Spread::of(comparison.runs_of(&load.name, server).map(|run| run.mib_per_s));
    let [rate, p50, p99] = FIGURES.map(|(_, figure, _)| {
        let spread = comparison.spread(&load.name, server, figure);
        (shown(spread), comparison.ratio(&load.name, server, figure))
    });
    let mark = mark(comparison, &load.name, server, load.kind != LoadKind::CatchUp);
    let _ = writeln!(
        text,
        "| {} | {server}{mark} | {} | {} | {} | {} | {} | {} | {} |",
        load.title,
        rate.0,
        shown(mib),
        p50.0,
        p99.0,
        shown(rate.1),
        shown(p50.1),
        shown(p99.1)
    );
}

/// What one has to know of a row: errors, and a load generator that may have been the limit.
fn mark(comparison: &Comparison, load: &str, server: &str, has_latency: bool) -> String {
    let errors: u64 = comparison.runs_of(load, server).map(|run| run.errors).sum();
    let busy = comparison.runs_of(load, server).filter_map(|run| run.generator_busy);
    let busy = Spread::of(busy).map_or(0.0, |busy| busy.median);
    let mut marks = Vec::new();
    if comparison.runs_of(load, server).next().is_none() {
        marks.push("no run".to_owned());
    }
    let is_late = |run: &Run| run.per_s > 0.0 && run.p50_us.is_none();
    if has_latency && comparison.runs_of(load, server).any(is_late) {
        marks.push("latency withheld, generator late".to_owned());
    }
    if errors > 0 {
        marks.push(format!("{errors} errors"));
    }
    if busy >= GENERATOR_BUSY {
        marks.push(format!("generator {:.0} % busy", busy * 100.0));
    }
    if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) }
}

/// A count for one thing, over so many of another.
type PerUnit = (&'static str, fn(&Count) -> Option<u64>, fn(&Count) -> u64);

const COUNTS: [PerUnit; 10] = [
    ("instructions", |count| count.instructions, |count| count.appends),
    ("CPU us", |count| count.cpu_us, |count| count.appends),
    ("system calls", |count| count.system_calls, |count| count.appends),
    ("io_uring requests", |count| count.ring_requests, |count| count.appends),
    ("syncs", |count| count.syncs, |count| count.appends),
    ("log syncs", |count| count.log_syncs, |count| count.appends),
    ("device flushes", |count| count.device_flushes, |count| count.appends),
    ("bytes written", |count| count.written_bytes, |count| count.record_bytes),
    ("log bytes", |count| count.log_bytes, |count| count.record_bytes),
    ("device bytes", |count| count.device_bytes, |count| count.record_bytes),
];

fn counts(text: &mut String, comparison: &Comparison) {
    if comparison.counts.is_empty() {
        return;
    }
    let names = COUNTS.map(|(name, ..)| name);
    let _ = writeln!(
        text,
        "\n## Counts\n\nPer append, and bytes per byte of record bodies; from a run of its own that \
         is in no figure above. What the device did counts whoever made it do so. *Syncs* are all \
         that the process asks the kernel for, by fsync, fdatasync or io_uring; \"-\" where a part \
         of them could not be counted. *Log syncs* and *log bytes* are the server's own counts, of \
         its log only, without what it does around it, such as writing zeros where it will write: \
         on a new directory and in a short run that is most of *bytes written*.\n\n\
         | load | server | {} |\n|---|---|{}",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for count in &comparison.counts {
        let load = comparison.loads.iter().find(|load| load.name == count.load);
        let title = load.map_or(&count.load, |load| &load.title);
        let cells = COUNTS.map(|(_, value, unit)| match (value(count), unit(count)) {
            (Some(value), units @ 1..) => number(value as f64 / units as f64),
            _ => "-".to_owned(),
        });
        let _ = writeln!(text, "| {title} | {} | {} |", count.server, cells.join(" | "));
    }
}

fn notes(text: &mut String, comparison: &Comparison) {
    let stand_ins: Vec<_> = comparison
        .loads
        .iter()
        .flat_map(|load| load.stand_ins.iter().map(move |(server, what)| (load, server, what)))
        .map(|(load, server, what)| format!("* {}, {server}: {what}", load.title))
        .collect();
    if !stand_ins.is_empty() {
        let _ = writeln!(text, "\n## What stands in for what\n\n{}", stand_ins.join("\n"));
    }
    if !comparison.missing.is_empty() {
        let _ = writeln!(text, "\n## What is missing\n");
        for missing in &comparison.missing {
            let _ = writeln!(text, "* {}: {}", cell(&missing.what), cell(&missing.why));
        }
    }
}

fn shown(value: Option<Spread>) -> String {
    value.map_or_else(|| "-".to_owned(), spread)
}

pub(super) fn spread(Spread { median, min, max }: Spread) -> String {
    let [median, min, max] = [median, min, max].map(number);
    if min == max { median } else { format!("{median} ({min}-{max})") }
}

/// Three significant digits, or whole.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Text that cannot end a table's cell or a line.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
mod tests;

/// A small comparison for tests.
#[cfg(test)]
pub(crate) fn example() -> Comparison {
    use super::figures::{About, DiskRun, Missing, ServerFacts};

    let facts = |name: &str, terms: &str| ServerFacts {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        terms: terms.to_owned(),
    };
    let load = |name: &str, title: &str, kind, stand_ins| LoadFacts {
        name: name.to_owned(),
        title: title.to_owned(),
        kind,
        stand_ins,
    };
    let run = |load: &str, server: &str, round, per_s, p50, p99, errors| Run {
        load: load.to_owned(),
        server: server.to_owned(),
        round,
        per_s,
        mib_per_s: per_s / 1024.0,
        p50_us: p50,
        p99_us: p99,
        filled_mib: (load == "two").then_some(78.0),
        errors,
        generator_busy: (server == "them").then_some(0.95),
    };
    let mut runs = vec![run("two", "us", 1, 7.0, None, None, 0)];
    for (round, rate, p99) in [(1, 50.0, 110.0), (2, 40.0, 90.0), (3, 80.0, 200.0)] {
        runs.push(run("unary-1k-c1", "us", round, rate, Some(150.0), Some(p99), 0));
        let errors = if round == 1 { 2 } else { 0 };
        runs.push(run("unary-1k-c1", "them", round, 100.0, Some(300.0), Some(100.0), errors));
    }
    let disk = |round| DiskRun { round, write_bytes: 4_096, p50_us: 100.0, p99_us: 200.0 };
    let count = Count {
        load: "unary-1k-c1".to_owned(),
        server: "us".to_owned(),
        appends: 4,
        record_bytes: 4_096,
        cpu_us: Some(8),
        system_calls: Some(2),
        log_syncs: Some(1),
        written_bytes: Some(5_120),
        ..Count::default()
    };
    let what = "instructions".to_owned();
    let stand_ins = vec![("them".to_owned(), "another way".to_owned())];
    Comparison {
        about: About { rounds: 3, duration_s: 4.0, warmup_s: 1.5, ..About::default() },
        servers: vec![facts("us", "ours"), facts("them", "theirs")],
        loads: vec![
            load("unary-1k-c1", "one", LoadKind::Append, stand_ins),
            load("two", "two", LoadKind::CatchUp, Vec::new()),
        ],
        disk: (1..=3).map(disk).collect(),
        runs,
        counts: vec![count],
        missing: vec![Missing { what, why: "the kernel | has none".to_owned() }],
    }
}
