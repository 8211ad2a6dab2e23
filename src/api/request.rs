//! The head of a request, as whichever transport received it.

/// The headers of a request. Names compare case-insensitively.
pub trait Headers {
    /// The value of the first header called `name`.
    fn first(&self, name: &str) -> Option<&[u8]>;

    /// Calls `each` with the value of every header called `name`, in order.
    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

/// The head of a request.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The method as received; methods are case-sensitive.
    pub method: &'a str,
    /// The path as received, still percent-encoded.
    pub path: &'a str,
    /// What follows the first `?`, still percent-encoded.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a dyn Headers,
}

/// Removes the blanks and tabs around a header value.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
pub(crate) mod testing {
    use super::{Headers, Parts};

    /// Headers as a list of pairs.
    pub(crate) struct Pairs<'a, V>(pub(crate) &'a [(&'a str, V)]);

    impl<V: AsRef<[u8]>> Headers for Pairs<'_, V> {
        fn first(&self, name: &str) -> Option<&[u8]> {
            let found = self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_ref())
        }

        fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
            for (n, value) in self.0 {
                if n.eq_ignore_ascii_case(name) {
                    each(value.as_ref());
                }
            }
        }
    }

    /// Splits `target` at its first `?`, as a transport does.
    pub(crate) fn parts<'a>(
        method: &'a str,
        target: &'a str,
        headers: &'a dyn Headers,
    ) -> Parts<'a> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        Parts { method, path, query, headers }
    }
}

#[cfg(test)]
mod tests {
    use super::trim;

    #[test]
    fn blanks_and_tabs_around_a_value_are_removed() {
        for (value, expected) in
            [("", ""), (" \t ", ""), ("a", "a"), ("\t a b \t", "a b"), ("\na", "\na")]
        {
            assert_eq!(trim(value.as_bytes()), expected.as_bytes(), "{value:?}");
        }
    }
}
