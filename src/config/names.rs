//! Names of settings, and which one was meant.

use clap::{Args as _, Command};

use super::Given;

/// How alike two names must be for one to be meant by the other; 1 is the same.
const ALIKE_MIN: f64 = 0.75;

/// What is known of a setting beside its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name in a file.
    pub name: String,
    /// Its flag, with the dashes.
    pub flag: String,
    /// Other spellings of the flag.
    pub aliases: Vec<String>,
    /// Its environment variable; empty if it has none.
    pub variable: String,
    /// What is given: `BYTES`, `SECS`, `FILE` …; empty for a switch.
    pub unit: String,
    /// What it means, with default and range.
    pub help: String,
}

/// Every setting, in the order of the documentation.
#[must_use]
pub fn described() -> Vec<Described> {
    let command = Given::augment_args(Command::new("settings"));
    let text =
        |text: Option<&clap::builder::Str>| text.map(ToString::to_string).unwrap_or_default();
    let of = |argument: &clap::Arg| Described {
        name: argument.get_id().to_string(),
        flag: format!("--{}", argument.get_long().unwrap_or_default()),
        aliases: argument
            .get_visible_aliases()
            .unwrap_or_default()
            .iter()
            .map(|alias| format!("--{alias}"))
            .collect(),
        variable: argument.get_env().unwrap_or_default().to_string_lossy().into_owned(),
        unit: if argument.get_num_args().is_some_and(|range| range.min_values() == 0) {
            String::new()
        } else {
            text(argument.get_value_names().and_then(<[_]>::first))
        },
        help: argument
            .get_long_help()
            .or(argument.get_help())
            .map(|help| help.to_string().replace('\n', " "))
            .unwrap_or_default(),
    };
    command.get_arguments().map(of).collect()
}

/// `; did you mean X?` when one of the names is much like this one, else nothing.
pub(super) fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> String {
    let alike = |name: &'a str| {
        // One slip of the finger counts in short names too.
        let is_slip = strsim::damerau_levenshtein(text, name) <= 1;
        (if is_slip { 1.0 } else { strsim::jaro_winkler(text, name) }, name)
    };
    let best = names.map(alike).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((alike, name)) if alike >= ALIKE_MIN => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}
