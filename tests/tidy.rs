//! Hygiene as a test: who uses whom, how long lines and files get, and what must not be left.
//!
//! The table below is the drawing of `docs/ARCHITECTURE.md` in a form that a machine can hold the
//! code to. A new arrow is a decision: it is added here, with the drawing, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, highest first, and what each may use. A room may only use rooms further
/// down; `a::b` allows that one module of a room and nothing else of it.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "backup",
            "config",
            "doctor",
            "inspect",
            "io::privileges",
            "logs",
            "reload",
            "serve",
            "types",
        ],
    ),
    (
        "serve",
        &[
            "api::gate",
            "api::token",
            "auth",
            "bucket",
            "config",
            "control",
            "dashboard",
            "directory",
            "doctor",
            "http1",
            "http2",
            "io::limits",
            "io::memory",
            "io::privileges",
            "log",
            "resources",
            "shard",
            "tls",
            "types",
        ],
    ),
    (
        "shard",
        &[
            "api",
            "audit",
            "auth",
            "bucket::link",
            "codec",
            "control",
            "crypto",
            "dashboard",
            "http1",
            "http2",
            // Only in tests, which ask it whether what a shard left on its disk is whole.
            "inspect::verify",
            "io",
            "log",
            "metrics",
            "planted",
            "resources",
            "stream",
            "tls",
            "types",
            "usage",
            "wire",
        ],
    ),
    ("bucket", &["directory", "io", "log", "types"]),
    ("doctor", &["directory", "io", "types"]),
    ("backup", &["directory", "inspect", "io", "log", "types"]),
    ("inspect", &["control", "directory", "io", "log", "stream", "types", "usage"]),
    ("reload", &["config", "logs", "types"]),
    ("logs", &["audit", "config"]),
    ("audit", &["api", "auth", "types"]),
    ("api", &["auth", "codec", "dashboard", "types", "usage"]),
    ("auth", &["types"]),
    ("http1", &["types", "wire"]),
    ("http2", &["types", "wire"]),
    ("tls", &["types"]),
    ("codec", &["types", "wire"]),
    ("control", &["io::notify", "log", "stream", "types", "usage"]),
    ("dashboard", &[]),
    ("directory", &["io", "log", "types"]),
    ("crypto", &["types"]),
    ("log", &["io", "planted", "types", "wire"]),
    ("stream", &["planted", "types"]),
    ("io", &["types"]),
    ("metrics", &["types"]),
    ("usage", &["types"]),
    ("config", &["types"]),
    ("resources", &["types"]),
    ("planted", &[]),
    ("types", &[]),
    ("wire", &[]),
];

/// Crates that only the named rooms may name, so that a change of crate stays in one room.
const CRATES: &[(&str, &[&str])] = &[
    ("aegis", &["crypto"]),
    ("arc_swap", &["bucket", "logs", "tls"]),
    ("base64_simd", &["auth", "codec", "crypto", "tls"]),
    ("blake3", &["auth", "backup", "bucket"]),
    ("bytesize", &["config"]),
    ("bytes", &["bucket", "codec", "http2", "shard", "types", "wire"]),
    ("clap", &["config", "main"]),
    ("crc32c", &["log", "shard", "wire"]),
    ("flate2", &["codec"]),
    ("getrandom", &["auth"]),
    ("glommio", &["backup", "inspect", "io", "shard"]),
    ("h2", &["http2"]),
    ("http", &["http2"]),
    ("httparse", &["http1"]),
    ("humantime", &["resources"]),
    ("object_store", &["bucket"]),
    ("prometheus", &["metrics"]),
    ("prost", &["codec"]),
    ("rcgen", &["tls"]),
    ("ring", &["crypto"]),
    ("rustix", &["bucket", "io"]),
    ("rustls", &["bucket", "tls"]),
    ("sd_notify", &["serve"]),
    ("signal_hook", &["serve"]),
    ("simd_json", &["codec"]),
    ("strsim", &["config"]),
    ("tokio", &["bucket", "http2"]),
    ("toml", &["config"]),
    ("zeroize", &["crypto", "types"]),
    ("zstd", &["codec"]),
];

/// Rooms that may hold unsafe code, behind safe types.
const UNSAFE_ROOMS: &[&str] = &["io", "wire"];

const COLUMNS_MAX: usize = 100;
/// Beyond this a file holds two ideas for certain.
const FILE_LINES_MAX: usize = 600;
/// Files that may be longer, each with its reason. None so far.
const LONG_FILES: &[(&str, &str)] = &[];
/// Marks of unfinished work, put together here so that this file does not hold them.
const LEFTOVERS: &[&str] = &[concat!("to", "do!"), concat!("FIX", "ME"), concat!("X", "XX")];

#[test]
fn rooms_use_only_what_the_table_allows() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let room = source.room();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            if room != "lib" {
                faults.push(format!("{}: room `{room}` is not in the table", source.name));
            }
            continue;
        };
        for (line, used) in source.uses() {
            let same = used.split("::").next() == Some(&room);
            if !same && !allowed.iter().any(|path| is_within(&used, path)) {
                faults.push(format!("{}:{line}: `{room}` may not use `{used}`", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn arrows_point_down() {
    let height = |name: &str| ROOMS.iter().position(|(room, _)| *room == name);
    let mut faults = Vec::new();
    for (from, (room, allowed)) in ROOMS.iter().enumerate() {
        for path in *allowed {
            let used = path.split("::").next().unwrap_or(path);
            if height(used).is_none_or(|to| to <= from) {
                faults.push(format!("`{room}` -> `{used}` does not point down the table"));
            }
        }
    }
    report(&faults);
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let room = source.room();
        for (number, line) in numbered(&source.code) {
            for (name, rooms) in CRATES {
                if names_crate(line, name) && !rooms.contains(&room.as_str()) {
                    faults.push(format!("{}:{number}: `{room}` names `{name}`", source.name));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn every_module_says_what_it_answers_for() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let first = source.text.lines().next().unwrap_or_default();
        let words = first.strip_prefix("//!").unwrap_or_default().split_whitespace().count();
        if !source.is_test() && words < 2 {
            faults.push(format!("{}: opens without a `//!` sentence", source.name));
        }
    }
    report(&faults);
}

#[test]
fn rooms_without_need_forbid_unsafe_code() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let room = source.room();
        let is_root = source.depth() == 1 && room != "lib";
        let may = UNSAFE_ROOMS.contains(&room.as_str());
        if is_root && !may && !source.text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{}: does not forbid unsafe code", source.name));
        }
    }
    report(&faults);
}

#[test]
fn lines_fit_the_page_unless_a_literal_cannot() {
    let mut faults = Vec::new();
    for source in all_sources() {
        for (number, line) in numbered(&source.text) {
            if columns_without_literal(line) > COLUMNS_MAX {
                faults.push(format!("{}:{number}: longer than {COLUMNS_MAX} columns", source.name));
            }
        }
    }
    report(&faults);
}

#[test]
fn files_hold_one_idea() {
    let mut faults = Vec::new();
    for source in sources("src") {
        let lines = source.text.lines().count();
        let is_excused = LONG_FILES.iter().any(|(name, _)| *name == source.name);
        if lines > FILE_LINES_MAX && !is_excused {
            faults.push(format!("{}: {lines} lines, more than {FILE_LINES_MAX}", source.name));
        }
    }
    report(&faults);
}

#[test]
fn nothing_unfinished_is_left() {
    let mut faults = Vec::new();
    for source in all_sources() {
        for (number, line) in numbered(&source.text) {
            for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
                faults.push(format!("{}:{number}: `{leftover}`", source.name));
            }
        }
    }
    report(&faults);
}

/// The checks above are only as good as the reading below.
#[test]
fn paths_are_found_however_they_are_spelled() {
    let cases: &[(&str, &[&str])] = &[
        ("use crate::log::scan::Visitor;", &["log::scan::Visitor"]),
        ("use crate::{io::notify::Notify, log};", &["io::notify::Notify", "log"]),
        (
            "use crate::io::{Disk, sim::{SimIo, Seed}};",
            &["io::Disk", "io::sim::SimIo", "io::sim::Seed"],
        ),
        ("use crate::io::{\n    Disk,\n    Clock as _,\n};", &["io::Disk", "io::Clock"]),
        ("fn f(x: crate::types::Ack) {}", &["types::Ack"]),
        ("// crate::shard is said, not used", &[]),
        ("let my_crate::path = 1;", &[]),
        ("use super::super::shard::Core;", &["shard::Core"]),
        ("use super::writer::Chain;", &[]),
        ("mod tests {\n    use super::super::shard::Core;\n}", &[]),
    ];
    for (text, expected) in cases {
        let source = Source::of("src/log/scan.rs", text);
        let found: Vec<String> = source.uses().into_iter().map(|(_, path)| path).collect();
        assert_eq!(&found, expected, "{text}");
    }
    let literal = format!("{}\"{}\"", "x".repeat(90), "y".repeat(90));
    assert_eq!(columns_without_literal(&literal), 92);
    assert_eq!(columns_without_literal("ab\"cd\\"), 3);
    assert!(is_within("io::notify::Notify", "io::notify") && !is_within("io::Disk", "io::notify"));
    assert!(!is_within("iota", "io"));
}

/// One Rust file.
struct Source {
    /// Path from the root of the project.
    name: String,
    text: String,
    /// The text without comments.
    code: String,
}

impl Source {
    fn of(name: &str, text: &str) -> Self {
        let without = |line: &str| line.find("//").map_or(line.len(), |at| at);
        let code: Vec<&str> = text.lines().map(|line| &line[..without(line)]).collect();
        Self { name: name.to_owned(), text: text.to_owned(), code: code.join("\n") }
    }

    /// Path of the module that the file is: `["log", "scan"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.name.strip_prefix("src/").unwrap_or(&self.name);
        let path = path.strip_suffix(".rs").unwrap_or(path);
        path.split('/').filter(|part| *part != "mod").collect()
    }

    fn room(&self) -> String {
        self.module()[0].to_owned()
    }

    fn depth(&self) -> usize {
        self.module().len()
    }

    fn is_test(&self) -> bool {
        self.module().contains(&"tests")
    }

    /// What the file names of its crate, as paths from the crate's root, with the line.
    fn uses(&self) -> Vec<(usize, String)> {
        let line_of = |at: usize| self.code[..at].matches('\n').count() + 1;
        let mut uses = Vec::new();
        let roots = ["crate::", "thalweg::"];
        let starts = roots.iter().flat_map(|root| self.code.match_indices(*root));
        for (at, root) in starts.filter(|(at, _)| is_word_start(&self.code, *at)) {
            let mut paths = Vec::new();
            expand("", &self.code[at + root.len()..], &mut paths);
            uses.extend(paths.into_iter().map(|path| (line_of(at), path)));
        }
        // `super::super::shard` leads out of a room as `crate::shard` does.
        let tests_at = self.code.find("mod tests {").unwrap_or(self.code.len());
        for (at, _) in self.code.match_indices("super::") {
            let depth = self.depth() + usize::from(at > tests_at);
            let mut rest = &self.code[at..];
            let mut ups = 0;
            while let Some(after) = rest.strip_prefix("super::") {
                (rest, ups) = (after, ups + 1);
            }
            if ups >= depth && is_word_start(&self.code, at) {
                let mut paths = Vec::new();
                expand("", rest, &mut paths);
                uses.extend(paths.into_iter().map(|path| (line_of(at), path)));
            }
        }
        uses
    }
}

/// Collects the paths of a use tree; returns what follows it.
fn expand<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() {
                return rest;
            }
            let after = expand(prefix, rest, paths);
            let next = after.find([',', '}']).unwrap_or(after.len());
            rest = after[next..].strip_prefix(',').unwrap_or(&after[next..]);
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}::{word}") };
    match rest.strip_prefix("::") {
        Some(after) => expand(&path, after, paths),
        None => {
            if !path.is_empty() {
                paths.push(path);
            }
            rest
        }
    }
}

fn is_word_start(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name)
        .any(|(at, _)| is_word_start(line, at) && line[at + name.len()..].starts_with("::"))
}

fn is_within(path: &str, allowed: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Columns of a line without what stands between its first and last quotation mark, or after its
/// only one: formatters cannot break a literal.
fn columns_without_literal(line: &str) -> usize {
    let columns = |text: &str| text.chars().count();
    match (line.find('"'), line.rfind('"')) {
        (Some(only), Some(last)) if only == last => columns(&line[..=only]),
        (Some(first), Some(last)) => columns(&line[..=first]) + columns(&line[last..]),
        _ => columns(line),
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

fn all_sources() -> Vec<Source> {
    ["src", "tests", "benches", "fuzz", "loadgen"].into_iter().flat_map(sources).collect()
}

/// The Rust files below a directory of the project, sorted.
fn sources(directory: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(directory), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "{directory} holds no Rust file");
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root).expect("collected below the root");
        let text = fs::read_to_string(path).expect("source files are readable UTF-8");
        Source::of(&name.to_string_lossy(), &text)
    };
    paths.iter().map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory is part of the project") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

#[track_caller]
fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}
