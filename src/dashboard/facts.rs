//! What `config.json` says about the server.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Facts about the server, fixed at start. None is a secret, and some name places on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The server's release.
    pub version: &'static str,
    /// When it was started; microseconds since the Unix epoch, spelled as RFC 3339.
    #[serde(rename = "started_at", serialize_with = "rfc3339")]
    pub started_us: u64,
    /// Where records are kept.
    pub store: Store,
    /// A log apart from the store: there is none, the store is the log.
    pub wal: Option<Store>,
    /// Where in the store; always its root.
    pub path: &'static str,
    /// How often what is written is made durable. Each append is, before its acknowledgement.
    pub flush_interval_ms: Option<u64>,
    /// How connections are made private.
    pub tls: Privacy,
    /// The port that the API is at.
    pub port: u16,
    /// Whether cross-origin headers are sent.
    pub cors: bool,
    /// The file whose basins and streams were made at start.
    pub init_file: Option<String>,
    /// Bytes of records that may be accepted and not durable.
    pub append_inflight_bytes: u64,
    /// In how many shards records are kept.
    pub shards: u16,
    /// Whether clients must show an access token.
    pub access_tokens: bool,
}

/// Where records are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Store {
    /// In a directory of this machine.
    Local {
        /// The directory.
        root: String,
    },
}

/// How connections are made private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// They are in the clear.
    None,
    /// With a certificate that the server made.
    SelfSigned,
    /// With the operator's certificate.
    Certificate,
}

fn rfc3339<S: Serializer>(since_epoch_us: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    let us = i64::try_from(*since_epoch_us).unwrap_or(i64::MAX);
    serializer.collect_str(&Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_spelled_as_clients_read_them() {
        let facts = Facts {
            version: "1.2.3",
            started_us: 1_700_000_000_000_000,
            store: Store::Local { root: "/data".to_owned() },
            wal: None,
            path: "",
            flush_interval_ms: None,
            tls: Privacy::SelfSigned,
            port: 80,
            cors: true,
            init_file: None,
            append_inflight_bytes: 5,
            shards: 2,
            access_tokens: false,
        };
        let expected = serde_json::json!({
            "version": "1.2.3",
            "started_at": "2023-11-14T22:13:20Z",
            "store": { "kind": "local", "root": "/data" },
            "wal": null,
            "path": "",
            "flush_interval_ms": null,
            "tls": "self_signed",
            "port": 80,
            "cors": true,
            "init_file": null,
            "append_inflight_bytes": 5,
            "shards": 2,
            "access_tokens": false,
        });
        assert_eq!(serde_json::to_value(&facts).unwrap(), expected);
    }
}
