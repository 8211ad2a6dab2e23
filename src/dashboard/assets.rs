//! The files of the dashboard, which are part of the binary.

use std::fmt;

/// A file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Its path below `/dashboard/assets/`.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        Asset {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("assets/", $name)),
        }
    };
}

/// The page that loads all the others.
pub(super) static PAGE: Asset = asset!("index.html", HTML);

/// What the page loads.
static ASSETS: &[Asset] = &[
    asset!("style.css", CSS),
    asset!("icon.svg", SVG),
    asset!("app.js", JAVASCRIPT),
    asset!("api.js", JAVASCRIPT),
    asset!("dom.js", JAVASCRIPT),
    asset!("components/dialog.js", JAVASCRIPT),
    asset!("components/fields.js", JAVASCRIPT),
    asset!("components/format.js", JAVASCRIPT),
    asset!("components/header.js", JAVASCRIPT),
    asset!("components/states.js", JAVASCRIPT),
    asset!("components/theme.js", JAVASCRIPT),
    asset!("components/token.js", JAVASCRIPT),
    asset!("pages/basins.js", JAVASCRIPT),
    asset!("pages/streams.js", JAVASCRIPT),
    asset!("pages/stream.js", JAVASCRIPT),
    asset!("pages/server.js", JAVASCRIPT),
    asset!("pages/facts.js", JAVASCRIPT),
];

impl Asset {
    /// The file of that name.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
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
        for asset in ASSETS {
            for imported in imports(asset) {
                assert!(Asset::find(&imported).is_some(), "{}: no {imported}", asset.name);
            }
        }
    }

    /// The names of the modules that a module imports.
    fn imports(asset: &Asset) -> Vec<String> {
        let text = std::str::from_utf8(asset.bytes).unwrap();
        let lines = text.lines().filter(|line| line.contains(" from \"") && line.ends_with("\";"));
        let paths = lines.filter_map(|line| line.split('"').nth(1));
        let directory = asset.name.rsplit_once('/').map_or("", |(directory, _)| directory);
        let resolve = |path: &str| match path.strip_prefix("../") {
            Some(rest) => rest.to_owned(),
            None if directory.is_empty() => path.trim_start_matches("./").to_owned(),
            None => format!("{directory}/{}", path.trim_start_matches("./")),
        };
        paths.map(resolve).collect()
    }

    #[test]
    fn no_file_writes_html_or_names_another_host() {
        for asset in ASSETS.iter().chain([&PAGE]) {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(word), "{}: {word}", asset.name);
            }
            let known = ["http://www.w3.org/2000/svg"];
            let others = text.match_indices("://").filter(|(at, _)| {
                !known
                    .iter()
                    .any(|known| text[at.saturating_sub(5)..].trim_start().starts_with(known))
            });
            let others: Vec<_> =
                others.map(|(at, _)| &text[at.saturating_sub(8)..at + 3]).collect();
            assert!(others.is_empty(), "{}: {others:?}", asset.name);
        }
    }
}
