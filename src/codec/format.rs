//! How bytes are written as JSON strings: as themselves, or as base64.

/// The form of header names, header values and bodies inside JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A string's UTF-8 bytes are the bytes; read back lossily.
    #[default]
    Raw,
    /// RFC 4648 base64: standard alphabet, padded.
    Base64,
}

/// The value names no format. The message is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("format must be `raw`, `json`, `base64` or `json-binsafe`")]
pub struct UnknownFormat;

impl Format {
    /// Reads the value by which a client chooses a format: trimmed, case-sensitive; absent is
    /// [`Format::Raw`].
    ///
    /// * Errors: [`UnknownFormat`] for anything else, the empty value included.
    pub fn parse(value: Option<&[u8]>) -> Result<Self, UnknownFormat> {
        match value.map(<[u8]>::trim_ascii) {
            None | Some(b"raw" | b"json") => Ok(Self::Raw),
            Some(b"base64" | b"json-binsafe") => Ok(Self::Base64),
            Some(_) => Err(UnknownFormat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accepted() {
        let cases: [(Option<&[u8]>, Format); 7] = [
            (None, Format::Raw),
            (Some(b"raw"), Format::Raw),
            (Some(b"json"), Format::Raw),
            (Some(b"base64"), Format::Base64),
            (Some(b"json-binsafe"), Format::Base64),
            (Some(b" \tbase64 "), Format::Base64),
            (Some(b"raw\t"), Format::Raw),
        ];
        for (value, format) in cases {
            assert_eq!(Format::parse(value), Ok(format), "{value:?}");
        }
    }

    #[test]
    fn formats_refused() {
        let cases: [&[u8]; 7] = [b"", b"  ", b"hex", b"Base64", b"RAW", b"raw,base64", b"\xFF"];
        for value in cases {
            assert_eq!(Format::parse(Some(value)), Err(UnknownFormat), "{value:?}");
        }
    }
}
