//! Every limit that the API fixes, stated once. Source: S2 specification, sections 3.1, 4.2, 5.2
//! and 13. Limits that an operator may change live in `config`.

/// Most records in one batch, appended or read.
pub const BATCH_RECORDS_MAX: usize = 1000;
/// Most metered bytes in one batch, appended or read.
pub const BATCH_METERED_BYTES_MAX: u64 = 1_048_576;
/// Most metered bytes in one record.
pub const RECORD_METERED_BYTES_MAX: u64 = 1_048_576;
/// Metered bytes that every record costs before its headers and body.
pub const RECORD_OVERHEAD_METERED_BYTES: u64 = 8;
/// Metered bytes that every header costs before its name and value.
pub const HEADER_OVERHEAD_METERED_BYTES: u64 = 2;
/// Most headers on one record.
pub const RECORD_HEADERS_MAX: usize = 16_777_215;
/// Longest fencing token, in bytes of UTF-8.
pub const FENCING_TOKEN_BYTES_MAX: usize = 36;
/// Longest idempotency token, in bytes of ASCII.
pub const REQUEST_TOKEN_BYTES_MAX: usize = 36;
/// Shortest basin name, in bytes.
pub const BASIN_NAME_BYTES_MIN: usize = 8;
/// Longest basin name, in bytes.
pub const BASIN_NAME_BYTES_MAX: usize = 48;
/// Longest stream name, in bytes of UTF-8.
pub const STREAM_NAME_BYTES_MAX: usize = 512;
/// Longest storage class, in bytes of UTF-8; the API fixes none, but it lies in every entry of the
/// log about its basin or stream.
pub const STORAGE_CLASS_BYTES_MAX: usize = 1024;
/// Longest id of an access token, in bytes of UTF-8.
pub const TOKEN_ID_BYTES_MAX: usize = 96;
/// Most items on one page of a listing, and the default.
pub const LIST_ITEMS_MAX: usize = 1000;
/// Longest wait of a unary read, in seconds.
pub const UNARY_WAIT_SECS_MAX: u32 = 60;
/// Retention of a stream for which nobody asked anything else, in seconds.
pub const RETENTION_AGE_SECS_DEFAULT: u64 = 604_800;

const _: () = assert!(RECORD_METERED_BYTES_MAX <= BATCH_METERED_BYTES_MAX);
const _: () = assert!(BASIN_NAME_BYTES_MIN < BASIN_NAME_BYTES_MAX);
