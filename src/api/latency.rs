//! The query of `GET /debug/latency`: an addition of this server to the API.

use std::ops::Range;

use super::error::ApiError;
use super::query::{bad_query, known, unsigned_32};

/// How latencies are spelled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LatencyForm {
    /// A table for people.
    #[default]
    Table,
    /// An interval log of HdrHistogram, for tools.
    Log,
}

/// Whose latencies are wanted, and how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LatencyQuery {
    /// Only of this shard; of all together when it is absent.
    pub shard: Option<u32>,
    /// How they are spelled.
    pub form: LatencyForm,
}

impl LatencyQuery {
    /// Reads the query; errors are 400 `bad_query`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let [shard, format] = known(query, ["shard", "format"])?;
        let form = match format.as_deref() {
            None | Some("text") => LatencyForm::Table,
            Some("hdr") => LatencyForm::Log,
            Some(_) => return Err(bad_query("format", "must be text or hdr")),
        };
        Ok(Self { shard: unsigned_32("shard", shard)?, form })
    }

    /// The shards that are asked for, of so many.
    ///
    /// * Errors: 400 `bad_query` when there is none of this number.
    pub fn shards(&self, count: u16) -> Result<Range<u16>, ApiError> {
        let Some(number) = self.shard else { return Ok(0..count) };
        match u16::try_from(number) {
            Ok(shard) if shard < count => Ok(shard..shard + 1),
            _ => Err(bad_query("shard", &format!("must be below {count}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;

    #[test]
    fn a_query_names_a_form_and_a_shard() {
        let all = LatencyQuery::default();
        let log = LatencyQuery { form: LatencyForm::Log, ..all };
        for (query, expected) in [
            (None, all),
            (Some("format=text"), all),
            (Some("reset=true"), all),
            (Some("format=hdr"), log),
            (Some("shard=3&format=hdr"), LatencyQuery { shard: Some(3), ..log }),
        ] {
            assert_eq!(LatencyQuery::parse(query), Ok(expected), "{query:?}");
        }
        for query in ["format=", "format=json", "shard=", "shard=-1", "shard=1&shard=1"] {
            let refused = LatencyQuery::parse(Some(query)).expect_err(query);
            assert_eq!(refused.code(), Some(Code::BadQuery), "{query}");
        }
    }

    #[test]
    fn only_shards_that_exist_can_be_asked_for() {
        let of = |shard| LatencyQuery { shard, ..LatencyQuery::default() }.shards(4);
        assert_eq!(of(None), Ok(0..4));
        assert_eq!(of(Some(3)), Ok(3..4));
        for missing in [4, 65_535, 65_536, u32::MAX] {
            let refused = of(Some(missing)).expect_err("there is none");
            assert_eq!(refused.code(), Some(Code::BadQuery), "{missing}");
        }
    }
}
