//! Basins and streams as answers show them (S2 specification, sections 3.3 to 3.5).

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::location::LOCATION_NAME;
use super::response::{Provision, Response};
use crate::types::{BasinName, Cipher};

/// A basin as listings and creation show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasinInfo<'a> {
    /// Its name.
    pub name: &'a BasinName,
    /// When it was created; microseconds since the Unix epoch.
    pub created_at_us: u64,
    /// When it was deleted, while that is pending; microseconds since the Unix epoch.
    pub deleted_at_us: Option<u64>,
}

/// A stream as listings and creation show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamInfo<'a> {
    /// Its name, as whoever asks calls it.
    pub name: &'a str,
    /// When it was created; microseconds since the Unix epoch.
    pub created_at_us: u64,
    /// When it was deleted, while that is pending; microseconds since the Unix epoch.
    pub deleted_at_us: Option<u64>,
    /// The cipher it was created with.
    pub cipher: Option<Cipher>,
}

impl BasinInfo<'_> {
    /// The answer to POST and PUT: 201 for a new basin, 200 for one that was there.
    #[must_use]
    pub fn provisioned(&self, provision: Provision) -> Response {
        Response::json(status_of(provision), self).with_provision(provision)
    }

    /// A page of basins; `has_more` says whether at least one more matches.
    #[must_use]
    pub fn page(basins: &[Self], has_more: bool) -> Response {
        #[derive(Serialize)]
        struct Page<'a> {
            basins: &'a [BasinInfo<'a>],
            has_more: bool,
        }
        Response::json(200, &Page { basins, has_more })
    }
}

impl StreamInfo<'_> {
    /// The answer to POST: 201, for a replay too.
    #[must_use]
    pub fn created(&self, provision: Provision) -> Response {
        Response::json(201, self).with_provision(provision)
    }

    /// The answer to PUT: 201 for a new stream, 200 for one that was there.
    #[must_use]
    pub fn ensured(&self, provision: Provision) -> Response {
        Response::json(status_of(provision), self).with_provision(provision)
    }

    /// A page of streams; `has_more` says whether at least one more matches.
    #[must_use]
    pub fn page(streams: &[Self], has_more: bool) -> Response {
        #[derive(Serialize)]
        struct Page<'a> {
            streams: &'a [StreamInfo<'a>],
            has_more: bool,
        }
        Response::json(200, &Page { streams, has_more })
    }
}

fn status_of(provision: Provision) -> u16 {
    match provision {
        Provision::Created => 201,
        Provision::Updated | Provision::Noop => 200,
    }
}

impl Serialize for BasinInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            name: &'a str,
            created_at: String,
            deleted_at: Option<String>,
            location: &'static str,
            /// Deprecated; older clients need it.
            state: &'static str,
        }
        let form = Form {
            name: self.name.as_str(),
            created_at: rfc3339(self.created_at_us),
            deleted_at: self.deleted_at_us.map(rfc3339),
            location: LOCATION_NAME,
            state: if self.deleted_at_us.is_some() { "deleting" } else { "active" },
        };
        form.serialize(serializer)
    }
}

impl Serialize for StreamInfo<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Form<'a> {
            name: &'a str,
            created_at: String,
            deleted_at: Option<String>,
            cipher: Option<Cipher>,
        }
        let form = Form {
            name: self.name,
            created_at: rfc3339(self.created_at_us),
            deleted_at: self.deleted_at_us.map(rfc3339),
            cipher: self.cipher,
        };
        form.serialize(serializer)
    }
}

/// RFC 3339 in UTC with `Z` and six digits of fraction. Times beyond the year 9999 show as the
/// last one that can be written.
pub(super) fn rfc3339(since_epoch_us: u64) -> String {
    let signed = i64::try_from(since_epoch_us).unwrap_or(i64::MAX);
    let timestamp = Timestamp::from_microsecond(signed).unwrap_or(Timestamp::MAX);
    format!("{timestamp:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: &Response) -> &str {
        std::str::from_utf8(&response.body).expect("JSON is UTF-8")
    }

    #[test]
    fn times_are_utc_with_six_digits() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (1_700_000_000_123_456, "2023-11-14T22:13:20.123456Z"),
            (1_700_000_000_000_000, "2023-11-14T22:13:20.000000Z"),
        ] {
            assert_eq!(rfc3339(us), text);
        }
        for us in [u64::MAX, i64::MAX.unsigned_abs()] {
            assert!(rfc3339(us).starts_with("9999-12-30T"), "{}", rfc3339(us));
        }
    }

    #[test]
    fn a_basin_shows_deleted_at_even_when_null() {
        let name = BasinName::new("test-basin-1").expect("legal");
        let info = BasinInfo { name: &name, created_at_us: 0, deleted_at_us: None };
        let active = r#"{"name":"test-basin-1","created_at":"1970-01-01T00:00:00.000000Z","deleted_at":null,"location":"local","state":"active"}"#;
        let created = info.provisioned(Provision::Created);
        assert_eq!((created.status, body(&created)), (201, active));
        assert_eq!(created.headers, [("s2-provision-result", "created".into())]);
        for (provision, text) in [(Provision::Noop, "noop"), (Provision::Updated, "updated")] {
            let existing = info.provisioned(provision);
            assert_eq!((existing.status, body(&existing)), (200, active));
            assert_eq!(existing.headers, [("s2-provision-result", text.into())]);
        }

        let deleting = BasinInfo { deleted_at_us: Some(1), ..info };
        let page = BasinInfo::page(&[info, deleting], true);
        let gone = r#"{"name":"test-basin-1","created_at":"1970-01-01T00:00:00.000000Z","deleted_at":"1970-01-01T00:00:00.000001Z","location":"local","state":"deleting"}"#;
        assert_eq!(page.status, 200);
        assert_eq!(body(&page), format!(r#"{{"basins":[{active},{gone}],"has_more":true}}"#));
    }

    #[test]
    fn a_stream_shows_deleted_at_and_cipher_even_when_null() {
        let info =
            StreamInfo { name: "日本/x y", created_at_us: 0, deleted_at_us: None, cipher: None };
        let plain = r#"{"name":"日本/x y","created_at":"1970-01-01T00:00:00.000000Z","deleted_at":null,"cipher":null}"#;
        for provision in [Provision::Created, Provision::Noop] {
            let response = info.created(provision);
            assert_eq!((response.status, body(&response)), (201, plain));
        }
        for (provision, status) in
            [(Provision::Created, 201), (Provision::Updated, 200), (Provision::Noop, 200)]
        {
            let response = info.ensured(provision);
            assert_eq!((response.status, body(&response)), (status, plain));
        }
        let other = StreamInfo { deleted_at_us: Some(1), cipher: Some(Cipher::Aegis256), ..info };
        let shown = r#"{"name":"日本/x y","created_at":"1970-01-01T00:00:00.000000Z","deleted_at":"1970-01-01T00:00:00.000001Z","cipher":"aegis-256"}"#;
        let page = StreamInfo::page(&[other], false);
        assert_eq!(body(&page), format!(r#"{{"streams":[{shown}],"has_more":false}}"#));
    }

    #[test]
    fn empty_pages_hold_an_empty_list() {
        assert_eq!(body(&BasinInfo::page(&[], false)), r#"{"basins":[],"has_more":false}"#);
        assert_eq!(body(&StreamInfo::page(&[], false)), r#"{"streams":[],"has_more":false}"#);
    }
}
