//! Encryption keys of tests, and the header that carries them.

use super::http::Request;

/// 32 bytes of 7.
pub(crate) const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// 32 bytes of 8.
pub(crate) const OTHER_KEY: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
/// The ciphers, as the API spells them.
pub(crate) const CIPHERS: [&str; 2] = ["aegis-256", "aes-256-gcm"];
/// Keys of legal length that open nothing: none, not base64, no padding, 31 bytes, 33 bytes.
pub(crate) const NO_KEYS: [Option<&str>; 6] = [
    None,
    Some("!!!!"),
    Some("x"),
    Some("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"),
    Some("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw=="),
    Some("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH"),
];

/// The request with a key.
pub(crate) fn with_key(request: Request, key: &str) -> Request {
    request.header("s2-encryption-key", key)
}
