//! Calls for setting up and reading back: not on the measured path, so clarity before cost.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};

use crate::cli::TargetArgs;
use crate::connection::{Connection, Failure};
use crate::place::Place;
use crate::tls::Secure;

/// A server address: `http://host:port` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Whether TLS is spoken there.
    pub(crate) is_secure: bool,
    /// `host:port`, as the `Host` header shows it.
    pub(crate) authority: String,
}

impl Target {
    /// Parses `http[s]://host[:port][/]`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (is_secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://"))
        {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("want http://HOST:PORT or https://HOST:PORT".to_owned()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
        if authority.is_empty() || !authority.chars().all(is_plain) {
            return Err("want HOST:PORT without a path".to_owned());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let port = if is_secure { 443 } else { 80 };
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        Ok(Self { is_secure, authority })
    }

    /// The addresses to try, in order.
    pub(crate) fn resolve(&self) -> Result<Vec<SocketAddr>> {
        let found: Vec<_> = self
            .authority
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {}", self.authority))?
            .collect();
        if found.is_empty() {
            bail!("{} has no address", self.authority);
        }
        Ok(found)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl TargetArgs {
    /// Where the server is, and how it is spoken to.
    pub(crate) fn place(&self) -> Result<Place> {
        let addresses = self.url.resolve()?;
        let host = self.url.authority.rsplit_once(':').map_or("", |(host, _)| host);
        let secure = self.url.is_secure.then(|| Secure::new(host, &self.trust)).transpose()?;
        Ok(Place { addresses, secure })
    }
}

/// The headers every request carries, each line with its end: host, token, basin.
pub(crate) fn common_headers(target: &TargetArgs, basin: Option<&str>) -> String {
    let mut lines = format!("host: {}\r\n", target.url.authority);
    if let Some(token) = &target.token {
        lines.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if let Some(basin) = basin {
        lines.push_str(&format!("s2-basin: {basin}\r\n"));
    }
    lines
}

/// A client for single calls, reconnecting by itself.
pub(crate) struct Client {
    place: Place,
    target: TargetArgs,
    connection: Option<Connection>,
}

impl Client {
    /// Resolves the target; connects at the first call.
    pub(crate) fn new(target: &TargetArgs) -> Result<Self> {
        Ok(Self { place: target.place()?, target: target.clone(), connection: None })
    }

    /// One call; `body` is JSON. Returns the status and the body of the answer.
    ///
    /// A call that met a broken connection is made once more on a fresh one: all calls made here
    /// may be repeated.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&str>,
    ) -> Result<(u16, Vec<u8>)> {
        let mut request = format!("{method} {path} HTTP/1.1\r\n{headers}");
        if let Some(body) = body {
            let len = body.len();
            request
                .push_str(&format!("content-type: application/json\r\ncontent-length: {len}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        for is_last in [false, true] {
            let mut connection = self.take_connection().await?;
            match connection.exchange(request.as_bytes(), self.target.request_timeout).await {
                Ok(answer) => {
                    let result = (answer.status, connection.body(&answer).to_vec());
                    if answer.is_reusable {
                        self.connection = Some(connection);
                    }
                    return Ok(result);
                }
                Err(Failure::NotSent(_) | Failure::Lost(_)) if !is_last => {}
                Err(failure) => return Err(failure).context(format!("{method} {path}")),
            }
        }
        unreachable!("the last attempt returns");
    }

    /// Calls and insists on 200.
    pub(crate) async fn get(&mut self, path: &str, headers: &str) -> Result<Vec<u8>> {
        let (status, body) = self.call("GET", path, headers, None).await?;
        if status != 200 {
            bail!("GET {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    async fn take_connection(&mut self) -> Result<Connection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        Connection::open_patiently(&self.place, self.target.connect_retry)
            .await
            .with_context(|| format!("cannot connect to {}", self.target.url.authority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_scheme_and_a_default_port() {
        for (text, authority) in [
            ("https://localhost", "localhost:443"),
            ("https://[::1]:4440", "[::1]:4440"),
            ("http://127.0.0.1:4440", "127.0.0.1:4440"),
            ("http://localhost:80/", "localhost:80"),
            ("http://example.org", "example.org:80"),
            ("http://[::1]:4440", "[::1]:4440"),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(target.authority, authority, "{text}");
            assert_eq!(target.is_secure, text.starts_with("https"), "{text}");
            assert_eq!(Target::parse(&target.to_string()), Ok(target), "{text}");
        }
        for text in
            ["", "127.0.0.1:1", "ftp://a:1", "http://", "https://", "http://a:1/v1", "http://a b:1"]
        {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
