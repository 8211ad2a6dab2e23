//! The web dashboard: which file a path below `/dashboard` is, and how it is answered (pure).
//!
//! ```text
//! /dashboard/assets/...    a file of `assets/`, which is part of the binary
//! /dashboard/config.json   facts about the server, fixed at start
//! /dashboard...            the page, whatever follows: it does its own routing
//! ```
//!
//! Invariants:
//!
//! * A path is compared with the names of `assets` as it was sent: there is no file system and
//!   nothing to decode, so no path leads anywhere else.
//! * The page runs no script and uses no style but ours: [`POLICY`] lets the browser refuse what a
//!   stream's name or a record might have slipped in.

#![forbid(unsafe_code)]

mod assets;
mod facts;

pub use assets::Asset;
pub use facts::{Facts, Privacy, Store};

/// What the page may load, and from where: its own origin, and nothing inline.
///
/// `require-trusted-types-for` makes writing HTML from a text an error, where browsers know it.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of all that is served here.
pub const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("vary", "accept-encoding"),
];

/// What a path below `/dashboard` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The page.
    Page,
    /// Facts about the server.
    Config,
    /// A file that the page loads.
    Asset(&'static Asset),
}

/// Whether `path` belongs to the dashboard, whatever is there.
#[must_use]
pub fn is_below(path: &str) -> bool {
    path.strip_prefix("/dashboard").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether who asks for `path` need not say who they are: the page has to be there for a token to
/// be entered in it. The facts name places on the server's disk and are not for everybody.
#[must_use]
pub fn is_public(path: &str) -> bool {
    is_below(path) && Place::find(path) != Some(Place::Config)
}

impl Place {
    /// What is at `path`; `None` when that is nothing of the dashboard's, or no file of it.
    #[must_use]
    pub fn find(path: &str) -> Option<Self> {
        if !is_below(path) {
            return None;
        }
        match path.strip_prefix("/dashboard/").unwrap_or_default() {
            "config.json" => Some(Self::Config),
            rest => match rest.strip_prefix("assets/") {
                Some(name) => Asset::find(name).map(Self::Asset),
                None => Some(Self::Page),
            },
        }
    }

    /// The file; `None` for the facts, which are none.
    #[must_use]
    pub fn file(self) -> Option<&'static Asset> {
        match self {
            Self::Page => Some(Asset::page()),
            Self::Asset(asset) => Some(asset),
            Self::Config => None,
        }
    }

    /// How long it may be kept without asking: never, but for the files that the page loads.
    #[must_use]
    pub fn cache_control(self) -> &'static str {
        if matches!(self, Self::Asset(_)) { "public, max-age=3600" } else { "no-cache" }
    }

    /// Whether a browser that sends this `if-none-match` has the file already.
    #[must_use]
    pub fn is_known(self, if_none_match: &[u8]) -> bool {
        let Some(tag) = self.file().map(|asset| &asset.tag) else { return false };
        let mut tags = if_none_match.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tags.any(|known| known == tag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_page_or_a_file_or_nothing() {
        let is_page = |path| Place::find(path) == Some(Place::Page);
        for path in [
            "/dashboard",
            "/dashboard/",
            "/dashboard/basins/x/studio",
            "/dashboard/server",
            "/dashboard/assets",
            "/dashboard/config.jso",
            "/dashboard/a/b/c/d/e/f/g",
        ] {
            assert!(is_page(path), "{path}");
        }
        assert_eq!(Place::find("/dashboard/config.json"), Some(Place::Config));
        let app = Place::find("/dashboard/assets/app.js").and_then(Place::file);
        assert_eq!(app.map(|asset| asset.content_type), Some("text/javascript; charset=utf-8"));
        for path in [
            "/dashboards",
            "/dashboardx/",
            "/",
            "/v1/dashboard",
            "/dashboard/assets/",
            "/dashboard/assets/none.js",
            "/dashboard/assets/APP.JS",
            "/dashboard/assets/app.js/",
            "/dashboard/assets//app.js",
            "/dashboard/assets/./app.js",
            "/dashboard/assets/../assets/app.js",
            "/dashboard/assets/%61pp.js",
            "/dashboard/assets/../../../../etc/passwd",
            "/dashboard/assets/..%2f..%2fmod.rs",
        ] {
            assert_eq!(Place::find(path), None, "{path}");
        }
    }

    #[test]
    fn the_facts_alone_are_not_for_everybody() {
        for path in ["/dashboard", "/dashboard/server", "/dashboard/assets/none.js"] {
            assert!(is_public(path), "{path}");
        }
        for path in ["/dashboard/config.json", "/dashboards", "/v1/basins"] {
            assert!(!is_public(path), "{path}");
        }
    }

    #[test]
    fn a_file_that_a_browser_has_is_known_by_its_tag() {
        let page = Place::Page;
        let tag = &Asset::page().tag;
        assert!(page.is_known(tag.as_bytes()));
        assert!(page.is_known(format!("\"x\" , {tag}").as_bytes()));
        for other in ["", "*", "\"x\"", "W/\"0\""] {
            assert!(!page.is_known(other.as_bytes()), "{other}");
        }
        assert!(!Place::Config.is_known(tag.as_bytes()));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
        assert!(!POLICY.contains("unsafe") && !POLICY.contains("http"), "{POLICY}");
        assert!(!POLICY.contains("  "), "{POLICY}");
    }
}
