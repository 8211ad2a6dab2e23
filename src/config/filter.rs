//! What is logged, as an operator says it: `info,log=debug,tls=trace`.
//!
//! * A level alone is for everything; `name=level` for a room of this server, by its short name, or
//!   for a library. `off` is a level.
//! * Where no level is for everything, that is `warn`, and `info` for this server.
//! * The rest is the syntax of `tracing`'s filters: `thalweg::shard::engine=trace` goes too.

use std::fmt;

use tracing_subscriber::EnvFilter;

use super::names::nearest;

/// What is logged when nothing else is asked for.
const DEFAULT: &str = "warn,thalweg=info";
/// The name of this crate, before those of its rooms.
const OURS: &str = "thalweg";
/// Longest filter, in bytes.
const BYTES_MAX: usize = 4096;
/// Levels, and what stands for none.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
/// Rooms that log, or may: all there are.
pub(super) const ROOMS: &[&str] = &[
    "api",
    "audit",
    "auth",
    "backup",
    "bucket",
    "codec",
    "config",
    "control",
    "crypto",
    "dashboard",
    "directory",
    "doctor",
    "http1",
    "http2",
    "inspect",
    "io",
    "log",
    "logs",
    "metrics",
    "planted",
    "reload",
    "resources",
    "serve",
    "shard",
    "stream",
    "tls",
    "types",
    "usage",
    "wire",
];
/// Libraries that log.
const LIBRARIES: &[&str] = &["glommio", "h2", "rustls", "thalweg", "tokio"];

/// A filter of log events.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter {
    given: String,
    directives: String,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogFilterError(String);

impl LogFilter {
    /// Reads a filter.
    ///
    /// * Errors: its syntax; a name that is neither a room nor a library, or no level.
    pub fn new(text: &str) -> Result<Self, LogFilterError> {
        if text.len() > BYTES_MAX {
            return Err(LogFilterError(format!("is longer than {BYTES_MAX} bytes")));
        }
        let mut directives = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            directives.push(directive(part)?);
        }
        if !directives.iter().any(|directive| is_level(directive)) {
            directives.insert(0, DEFAULT.to_owned());
        }
        let directives = directives.join(",");
        match EnvFilter::builder().parse(&directives) {
            Ok(_) => Ok(Self { given: text.to_owned(), directives }),
            Err(error) => Err(LogFilterError(format!("{text:?}: {error}"))),
        }
    }

    /// The filter as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The same for `tracing`.
    #[must_use]
    pub fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.directives)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self { given: DEFAULT.to_owned(), directives: DEFAULT.to_owned() }
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFilter({:?})", self.given)
    }
}

fn is_level(text: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(text))
}

/// One part, with the whole name of its room.
fn directive(part: &str) -> Result<String, LogFilterError> {
    if is_level(part) {
        return Ok(part.to_owned());
    }
    let (target, level) = part.split_once('=').unzip();
    let target = target.unwrap_or(part).trim();
    if let Some(level) = level.map(str::trim)
        && !is_level(level)
        && !part.contains(['[', ']', '{', '}'])
    {
        let levels = LEVELS.join(", ");
        return Err(LogFilterError(format!("{level:?} is no level: there are {levels}")));
    }
    // Of a path, the first is the library.
    let first = target.split("::").next().unwrap_or(target);
    if ROOMS.contains(&target) {
        return Ok(format!("{OURS}::{part}"));
    }
    if target.contains(['[', ']']) || LIBRARIES.contains(&first) {
        return Ok(part.to_owned());
    }
    let names = LEVELS.iter().chain(ROOMS).chain(LIBRARIES);
    let meant = nearest(target, names.copied());
    Err(LogFilterError(format!("{target:?} is no level, no room and no library that logs{meant}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_accepted() {
        // `@` stands for the path of this crate.
        let cases = [
            ("", "warn,thalweg=info"),
            ("info", "info"),
            ("TRACE", "TRACE"),
            ("off", "off"),
            ("info,log=debug,tls=trace", "info,@log=debug,@tls=trace"),
            (" info , shard=off ,", "info,@shard=off"),
            ("log=debug", "warn,thalweg=info,@log=debug"),
            ("log", "warn,thalweg=info,@log"),
            ("thalweg=debug", "warn,thalweg=info,thalweg=debug"),
            ("@audit=debug", "warn,thalweg=info,@audit=debug"),
            ("warn,thalweg=info", "warn,thalweg=info"),
            ("h2=debug,tokio=off", "warn,thalweg=info,h2=debug,tokio=off"),
        ];
        for (text, directives) in cases {
            let [text, directives] = [text, directives].map(|t| t.replace('@', "thalweg::"));
            let filter = LogFilter::new(&text).unwrap();
            assert_eq!((filter.as_str(), filter.directives.as_str()), (&*text, &*directives));
        }
        assert_eq!(LogFilter::default().directives, LogFilter::new("").unwrap().directives);
    }

    #[test]
    fn filters_refused() {
        let long = "x".repeat(5000);
        let cases = [
            (
                "lgo=debug",
                "\"lgo\" is no level, no room and no library that logs; did you mean log",
            ),
            ("inf", "did you mean info"),
            ("shard=loud", "\"loud\" is no level: there are off, error"),
            ("shard=", "\"\" is no level"),
            ("info debug", "is no level"),
            ("hyper=debug", "\"hyper\" is no level"),
            ("=debug", "is no level"),
            (&long, "longer than"),
        ];
        for (text, expected) in cases {
            let said = LogFilter::new(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn every_room_of_the_tree_may_be_named() {
        let lib = include_str!("../lib.rs");
        let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
        let mut rooms: Vec<&str> = rooms.collect();
        rooms.sort_unstable();
        assert_eq!(rooms, ROOMS, "ROOMS of src/config/filter.rs are those of src/lib.rs, sorted");
    }
}
