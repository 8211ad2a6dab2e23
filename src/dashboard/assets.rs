//! The files of the dashboard, which are part of the binary.

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::LazyLock;

/// A file.
#[derive(Clone, PartialEq, Eq)]
pub struct Asset {
    /// Its path below `/dashboard/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
    /// Its `etag`: weak, since the file may be sent coded.
    pub tag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset::new($name, $content_type, include_bytes!(concat!("assets/", $name)))
    };
}

/// The page that loads all the others, as it is written: it names them without the edition.
static PAGE: LazyLock<Asset> = LazyLock::new(|| asset!("index.html", HTML));

/// Names what all the files together are, like `v-0123456789abcdef`. The page loads files below
/// this name, so that after an upgrade no browser runs some old ones with some new ones.
static EDITION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = DefaultHasher::new();
    for asset in &*ASSETS {
        hasher.write(asset.name.as_bytes());
        hasher.write(asset.bytes);
    }
    format!("v-{:016x}", hasher.finish())
});

/// The page as it is sent.
static EDITED_PAGE: LazyLock<Asset> = LazyLock::new(|| {
    let text = String::from_utf8_lossy(PAGE.bytes);
    let text = text.replace("/dashboard/assets/", &format!("/dashboard/assets/{}/", *EDITION));
    Asset::new(PAGE.name, PAGE.content_type, text.into_bytes().leak())
});

/// What the page loads; hashed once, when something of it is asked for first.
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        asset!("style.css", CSS),
        asset!("charts.css", CSS),
        asset!("icon.svg", SVG),
        asset!("api.js", JAVASCRIPT),
        asset!("app.js", JAVASCRIPT),
        asset!("charts.js", JAVASCRIPT),
        asset!("dom.js", JAVASCRIPT),
        asset!("theme-first.js", JAVASCRIPT),
        asset!("components/appender.js", JAVASCRIPT),
        asset!("components/batch.js", JAVASCRIPT),
        asset!("components/commands.js", JAVASCRIPT),
        asset!("components/config.js", JAVASCRIPT),
        asset!("components/confirm.js", JAVASCRIPT),
        asset!("components/copy.js", JAVASCRIPT),
        asset!("components/deletion.js", JAVASCRIPT),
        asset!("components/dialog.js", JAVASCRIPT),
        asset!("components/fields.js", JAVASCRIPT),
        asset!("components/follow.js", JAVASCRIPT),
        asset!("components/format.js", JAVASCRIPT),
        asset!("components/forms.js", JAVASCRIPT),
        asset!("components/header.js", JAVASCRIPT),
        asset!("components/key.js", JAVASCRIPT),
        asset!("components/listing.js", JAVASCRIPT),
        asset!("components/reader.js", JAVASCRIPT),
        asset!("components/record.js", JAVASCRIPT),
        asset!("components/records.js", JAVASCRIPT),
        asset!("components/sse.js", JAVASCRIPT),
        asset!("components/states.js", JAVASCRIPT),
        asset!("components/text.js", JAVASCRIPT),
        asset!("components/theme.js", JAVASCRIPT),
        asset!("components/token.js", JAVASCRIPT),
        asset!("pages/basins.js", JAVASCRIPT),
        asset!("pages/streams.js", JAVASCRIPT),
        asset!("pages/stream.js", JAVASCRIPT),
        asset!("pages/server.js", JAVASCRIPT),
        asset!("pages/server/acks.js", JAVASCRIPT),
        asset!("pages/server/buckets.js", JAVASCRIPT),
        asset!("pages/server/history.js", JAVASCRIPT),
        asset!("pages/server/poll.js", JAVASCRIPT),
        asset!("pages/server/states.js", JAVASCRIPT),
        asset!("pages/server/throughput.js", JAVASCRIPT),
        asset!("pages/server/units.js", JAVASCRIPT),
        asset!("pages/facts.js", JAVASCRIPT),
    ]
});

impl Asset {
    fn new(name: &'static str, content_type: &'static str, bytes: &'static [u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let tag = format!("W/\"{:016x}\"", hasher.finish());
        Self { name, content_type, bytes, tag }
    }

    /// The page.
    pub(super) fn page() -> &'static Self {
        &EDITED_PAGE
    }

    /// The file of that name, with or without the edition before it.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        let name = match name.split_once('/') {
            Some((edition, rest)) if edition == *EDITION => rest,
            _ => name,
        };
        ASSETS.iter().find(|asset| asset.name == name)
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Asset").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn files_below(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files_below(&path, found);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }

    #[test]
    fn every_file_is_served_and_what_is_imported_is_there() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dashboard/assets/");
        let mut found = Vec::new();
        files_below(Path::new(root), &mut found);
        for path in found {
            let name = path.strip_prefix(root).unwrap();
            assert!(name == PAGE.name || Asset::find(name).is_some(), "{name} is not served");
        }
        for asset in &*ASSETS {
            for imported in imports(asset) {
                assert!(Asset::find(&imported).is_some(), "{}: no {imported}", asset.name);
            }
        }
    }

    #[test]
    fn the_page_loads_files_of_this_edition_and_of_no_other() {
        let page = std::str::from_utf8(Asset::page().bytes).unwrap();
        let names: Vec<_> =
            page.split('"').filter_map(|part| part.strip_prefix("/dashboard/assets/")).collect();
        assert_eq!(names.len(), 5, "{page}");
        for name in names {
            assert!(name.starts_with("v-") && Asset::find(name).is_some(), "{name}");
            let plain = name.split_once('/').unwrap().1;
            assert!(Asset::find(plain).is_some(), "{plain}");
            assert!(Asset::find(&format!("v-0000000000000000/{plain}")).is_none(), "{plain}");
        }
    }

    /// The names of the modules that a module imports.
    fn imports(asset: &Asset) -> Vec<String> {
        let text = std::str::from_utf8(asset.bytes).unwrap();
        let lines = text.lines().filter(|line| line.contains(" from \"") && line.ends_with("\";"));
        let paths = lines.filter_map(|line| line.split('"').nth(1));
        let above: Vec<&str> = asset.name.split('/').collect();
        let resolve = |path: &str| {
            let ups = path.matches("../").count();
            let directory = &above[..above.len() - 1 - ups];
            let rest = path.trim_start_matches("../").trim_start_matches("./");
            [directory, &[rest]].concat().join("/")
        };
        paths.map(resolve).collect()
    }

    #[test]
    fn no_file_writes_html_or_names_another_host() {
        for asset in ASSETS.iter().chain([&*PAGE]) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(word), "{}: {word}", asset.name);
            }
            let known = ["http://www.w3.org/2000/svg"];
            let others = text.match_indices("://").filter(|(at, _)| {
                let is_known = |url: &&str| {
                    let scheme = url.split(':').next().unwrap_or_default();
                    text[..*at].ends_with(scheme) && text[at - scheme.len()..].starts_with(*url)
                };
                !known.iter().any(is_known)
            });
            let others: Vec<_> =
                others.map(|(at, _)| &text[at.saturating_sub(8)..at + 3]).collect();
            assert!(others.is_empty(), "{}: {others:?}", asset.name);
        }
    }
}
