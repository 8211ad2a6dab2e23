//! The container file, as far as it can be checked without building it: what it copies is there,
//! what it runs can be run, and nothing in it is root's.

use std::path::Path;

const FILE: &str = include_str!("../../docs/deploy/Containerfile");

/// Its instructions: continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let joined = FILE.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let split = |line: &str| {
        let (word, rest) = line.split_once(' ').expect("an instruction says something");
        (word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.map(split).collect()
}

/// The words of an instruction in the form of a list.
fn list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn all(word: &str) -> Vec<String> {
    let found = instructions().into_iter().filter(|(name, _)| name == word);
    let found: Vec<String> = found.map(|(_, rest)| rest).collect();
    assert!(!found.is_empty(), "{word}");
    found
}

#[test]
fn it_has_two_stages_and_the_last_one_is_not_roots() {
    let stages = all("FROM");
    assert_eq!(stages.len(), 2, "{stages:?}");
    let manifest = include_str!("../../Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let version = version.expect("a version").trim_matches('"');
    assert!(stages[0].contains(&format!("/rust:{version}-")), "{} builds {version}", stages[0]);
    assert!(stages[0].ends_with(" AS build"));
    let user = all("USER").pop().expect("one");
    assert!(user != "root" && !user.starts_with("0"), "{user}");
    let last = FILE.rsplit("\nFROM ").next().expect("a stage");
    assert!(last.contains("\nUSER "), "in the last stage");
}

#[test]
fn what_it_copies_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut made = Vec::new();
    for run in all("RUN") {
        made.extend(run.split_whitespace().map(str::to_owned));
    }
    for copy in all("COPY") {
        let words: Vec<&str> = copy.split(' ').collect();
        let (options, paths): (Vec<&str>, Vec<&str>) =
            words.into_iter().partition(|word| word.starts_with("--"));
        let [from, _] = paths[..] else { panic!("{copy}") };
        if !options.contains(&"--from=build") {
            assert!(root.join(from).exists(), "{from} is not in the tree");
        } else if let Some(binary) = from.strip_prefix("/source/target/release/") {
            assert!(made.windows(2).any(|pair| pair == ["--bin", binary]), "{from} is not built");
        } else {
            assert!(made.iter().any(|word| word == from), "{from} is not made");
        }
    }
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).expect("there");
    assert!(ignored.lines().any(|line| line == "target"), "a build is not sent along");
}

#[test]
fn what_it_runs_can_be_run() {
    let commands = [all("ENTRYPOINT"), all("HEALTHCHECK")].concat();
    for command in commands {
        let words = list(command.split_once("CMD ").map_or(&*command, |(_, command)| command));
        assert_eq!(words[0], "/usr/local/bin/thalweg", "{words:?}");
        let mut arguments = words[1..].to_vec();
        arguments.push("--help".to_owned());
        let (ended_well, said) = super::thalweg(&arguments);
        assert!(ended_well, "{arguments:?}: {said}");
    }
    // What the comments say to add.
    let added = FILE.lines().filter_map(|line| line.strip_prefix("#     thalweg "));
    let added: Vec<&str> = added.flat_map(str::split_whitespace).collect();
    assert!(!added.is_empty());
    let (ended_well, help) = super::thalweg(&[&["serve"], &added[..], &["--help"]].concat());
    assert!(ended_well, "{help}");
    let help = super::words(&help);
    for setting in all("ENV").iter().flat_map(|line| line.split(' ')) {
        let (name, _) = setting.split_once('=').expect("a value");
        assert!(help.contains(&format!("[env: {name}=")), "{name} is no setting");
    }
}

#[test]
fn its_profile_and_its_limits_are_named() {
    for word in ["seccomp=docs/deploy/seccomp.json", "memlock=", "no-new-privileges", "--read-only"]
    {
        assert!(FILE.contains(word), "{word}");
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/seccomp.json").exists());
    assert!(all("HEALTHCHECK")[0].contains("\"health\""));
}
