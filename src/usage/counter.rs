//! What is counted, one table: the counter, its key on disk, the set that shows it and its name
//! there.

use super::query::Set;

macro_rules! counters {
    ($($variant:ident = ($key:literal, $set:ident, $name:literal),)*) => {
        /// One thing that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the table says what each is")]
        pub enum Counter {
            $($variant,)*
        }

        impl Counter {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            pub(super) const COUNT: usize = Self::ALL.len();

            /// What it is called on disk: never to be changed.
            #[must_use]
            pub const fn key(self) -> &'static str {
                match self { $(Self::$variant => $key,)* }
            }

            /// The set that shows it.
            #[must_use]
            pub const fn set(self) -> Set {
                match self { $(Self::$variant => Set::$set,)* }
            }

            /// Its name in that set. Operations are spelled as in access tokens (S2 specification,
            /// section 8.2).
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    AppendOpsExpress = ("append_ops.express", AppendOps, "express"),
    AppendOpsStandard = ("append_ops.standard", AppendOps, "standard"),
    AppendOpsOther = ("append_ops.other", AppendOps, "other"),
    AppendBytesExpress = ("append_bytes.express", AppendThroughput, "express"),
    AppendBytesStandard = ("append_bytes.standard", AppendThroughput, "standard"),
    AppendBytesOther = ("append_bytes.other", AppendThroughput, "other"),
    ReadOpsStreaming = ("read_ops.streaming", ReadOps, "streaming"),
    ReadOpsUnary = ("read_ops.unary", ReadOps, "unary"),
    ReadBytes = ("read_bytes", ReadThroughput, "read_throughput"),
    ListStreams = ("op.list-streams", BasinOps, "list-streams"),
    CreateStream = ("op.create-stream", BasinOps, "create-stream"),
    DeleteStream = ("op.delete-stream", BasinOps, "delete-stream"),
    GetStreamConfig = ("op.get-stream-config", BasinOps, "get-stream-config"),
    ReconfigureStream = ("op.reconfigure-stream", BasinOps, "reconfigure-stream"),
    CheckTail = ("op.check-tail", BasinOps, "check-tail"),
    GetBasinConfig = ("op.get-basin-config", BasinOps, "get-basin-config"),
    BasinMetrics = ("op.basin-metrics", BasinOps, "basin-metrics"),
    StreamMetrics = ("op.stream-metrics", BasinOps, "stream-metrics"),
    ListBasins = ("op.list-basins", AccountOps, "list-basins"),
    CreateBasin = ("op.create-basin", AccountOps, "create-basin"),
    DeleteBasin = ("op.delete-basin", AccountOps, "delete-basin"),
    ReconfigureBasin = ("op.reconfigure-basin", AccountOps, "reconfigure-basin"),
    ListAccessTokens = ("op.list-access-tokens", AccountOps, "list-access-tokens"),
    IssueAccessToken = ("op.issue-access-token", AccountOps, "issue-access-token"),
    RevokeAccessToken = ("op.revoke-access-token", AccountOps, "revoke-access-token"),
    ListLocations = ("op.list-locations", AccountOps, "list-locations"),
    GetDefaultLocation = ("op.get-default-location", AccountOps, "get-default-location"),
    SetDefaultLocation = ("op.set-default-location", AccountOps, "set-default-location"),
    AccountMetrics = ("op.account-metrics", AccountOps, "account-metrics"),
}

impl Counter {
    pub(super) fn of_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|counter| counter.key() == key)
    }

    /// Whether the log's batches say it all, so that replaying them counts again.
    pub(super) fn is_replayed(self) -> bool {
        matches!(self.set(), Set::AppendOps | Set::AppendThroughput)
    }
}

/// A stream's storage class, as appends are told apart: the class is any text, and all but the
/// two well-known ones share a series, so that their number is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `express`.
    Express,
    /// `standard`.
    Standard,
    /// Any other text.
    Other,
}

impl Class {
    /// The class that `text` names.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "express" => Self::Express,
            "standard" => Self::Standard,
            _ => Self::Other,
        }
    }

    /// What counts its appends, and what their bytes.
    pub(super) fn counters(self) -> (Counter, Counter) {
        match self {
            Self::Express => (Counter::AppendOpsExpress, Counter::AppendBytesExpress),
            Self::Standard => (Counter::AppendOpsStandard, Counter::AppendBytesStandard),
            Self::Other => (Counter::AppendOpsOther, Counter::AppendBytesOther),
        }
    }
}
