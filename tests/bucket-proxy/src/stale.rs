//! Lists that lack what is young, as of a store that is not consistent at once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// When keys were made, as far as it was seen here.
#[derive(Debug, Default)]
pub struct Births(HashMap<String, Instant>);

/// Beyond these, the oldest do not matter any more.
const BIRTHS_MAX: usize = 100_000;

impl Births {
    /// Remembers that the object at this path (`/bucket/key`) was made just now.
    pub fn note(&mut self, path: &str) {
        if self.0.len() >= BIRTHS_MAX {
            self.0.clear();
        }
        if let Some((_, key)) = path.trim_start_matches('/').split_once('/') {
            self.0.insert(key.to_owned(), Instant::now());
        }
    }

    fn is_younger(&self, key: &str, age: Duration) -> bool {
        self.0.get(key).is_some_and(|made| made.elapsed() < age)
    }

    /// The list without entries younger than `age`, and how many those were.
    pub fn hide(&self, list: &str, age: Duration) -> (String, u64) {
        let mut kept = String::with_capacity(list.len());
        let mut hidden = 0;
        let mut rest = list;
        while let Some(start) = rest.find("<Contents>") {
            let Some(length) = rest[start..].find("</Contents>") else { break };
            let end = start + length + "</Contents>".len();
            let entry = &rest[start..end];
            let key = between(entry, "<Key>", "</Key>").unwrap_or_default();
            kept += &rest[..start];
            if self.is_younger(key, age) {
                hidden += 1;
            } else {
                kept += entry;
            }
            rest = &rest[end..];
        }
        kept += rest;
        (kept, hidden)
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_young_entries_go() {
        let mut births = Births::default();
        births.note("/bucket/p/log/2");
        let entry = |key| format!("<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        let list = format!("<L>{}{}</L>", entry("p/log/1"), entry("p/log/2"));
        let (stale, hidden) = births.hide(&list, Duration::from_secs(3600));
        assert_eq!((stale, hidden), (format!("<L>{}</L>", entry("p/log/1")), 1));
        assert_eq!(births.hide(&list, Duration::ZERO), (list, 0));
    }
}
