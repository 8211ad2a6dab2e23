//! Why a connection is refused.

/// A breach of RFC 9112 or of [`Limits`](super::Limits). Each is final: answer with
/// [`status`](Self::status) and `connection: close`, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// 400: the first line is not `method SP target SP HTTP/d.d`.
    #[error("malformed request line")]
    RequestLine,
    /// 400: the target has a space, a control character, a fragment or an unknown form.
    #[error("malformed request target")]
    Target,
    /// 414: the target, or the request line as a whole, is too long.
    #[error("request target too long")]
    TargetTooLong,
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    #[error("unsupported protocol version")]
    VersionUnsupported,
    /// 501: `CONNECT`, whose messages are framed differently.
    #[error("CONNECT is not supported")]
    ConnectUnsupported,
    /// 400: too many empty lines where a request should begin.
    #[error("too many empty lines before a request")]
    EmptyLines,
    /// 431: the head does not end within its bound.
    #[error("request head too large")]
    HeadTooLarge,
    /// 431: too many header lines.
    #[error("too many header lines")]
    HeaderCount,
    /// 400: a line ended by LF without CR.
    #[error("line feed without carriage return")]
    BareLf,
    /// 400: a CR that no LF follows.
    #[error("carriage return without line feed")]
    BareCr,
    /// 400: a header line continued on the next one, or a first one that starts with a blank.
    #[error("folded header line")]
    ObsFold,
    /// 400: blanks between a header name and its colon.
    #[error("blank before the colon of a header line")]
    SpaceBeforeColon,
    /// 400: a header line that starts with its colon.
    #[error("empty header name")]
    HeaderNameEmpty,
    /// 400: a header line without colon, or a name with a byte that is no token character.
    #[error("malformed header name")]
    HeaderName,
    /// 400: a control character in a header value.
    #[error("control character in a header value")]
    HeaderValue,
    /// 400: HTTP/1.1 without `Host`.
    #[error("missing host header")]
    HostMissing,
    /// 400: more than one `Host`.
    #[error("more than one host header")]
    HostRepeated,
    /// 400: `Host` is not `host[:port]`.
    #[error("malformed host header")]
    HostInvalid,
    /// 400: both `Content-Length` and `Transfer-Encoding`.
    #[error("both content-length and transfer-encoding")]
    LengthAndTransferEncoding,
    /// 400: more than one `Content-Length`, equal or not.
    #[error("more than one content-length")]
    LengthRepeated,
    /// 400: `Content-Length` is not a decimal number of 64 bits.
    #[error("malformed content-length")]
    LengthInvalid,
    /// 400: more than one `Transfer-Encoding`.
    #[error("more than one transfer-encoding")]
    TransferEncodingRepeated,
    /// 501: a transfer coding other than `chunked`, or a list.
    #[error("unsupported transfer-encoding")]
    TransferEncodingUnsupported,
    /// 400: `Transfer-Encoding` on HTTP/1.0, which has none.
    #[error("transfer-encoding on HTTP/1.0")]
    TransferEncodingOnHttp10,
    /// 417: an expectation other than `100-continue`.
    #[error("unknown expectation")]
    ExpectationUnknown,
    /// 413: the body is, or declares to be, larger than what is collected.
    #[error("request body too large")]
    BodyTooLarge,
    /// 400: a chunk size that is empty, not hexadecimal, or followed by anything but CRLF or `;`.
    #[error("malformed chunk size")]
    ChunkSize,
    /// 400: a chunk size of more than 64 bits.
    #[error("chunk size too large")]
    ChunkSizeOverflow,
    /// 400: a chunk-size line longer than its bound.
    #[error("chunk-size line too long")]
    ChunkLineTooLong,
    /// 400: a control character in a chunk extension.
    #[error("control character in a chunk extension")]
    ChunkExtension,
    /// 400: the chunk extensions of a body exceed their bound.
    #[error("too many bytes of chunk extensions")]
    ChunkExtensionsTooLong,
    /// 400: the bytes after a chunk's data are not CRLF.
    #[error("chunk data not followed by a line end")]
    ChunkEnd,
    /// 431: the trailers exceed their bound.
    #[error("trailers too large")]
    TrailersTooLarge,
    /// 400: the peer closed in the middle of a message.
    #[error("connection closed in the middle of a request")]
    Truncated,
}

impl Violation {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BodyTooLarge => 413,
            Self::TargetTooLong => 414,
            Self::ExpectationUnknown => 417,
            Self::HeadTooLarge | Self::HeaderCount | Self::TrailersTooLarge => 431,
            Self::TransferEncodingUnsupported | Self::ConnectUnsupported => 501,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }
}
