//! What a server says on its output when it listens: where, and what to tell clients.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::{ROOT_TOKEN_VARIABLE, Settings, Tls};

/// Where the server is reached.
pub(super) struct Place<'a> {
    pub(super) settings: &'a Settings,
    /// Whether clients must say who they are.
    pub(super) has_root: bool,
    pub(super) address: SocketAddr,
    pub(super) metrics_address: Option<SocketAddr>,
}

/// Says that the server listens; then where its dashboard is and, for a shell, what clients need.
///
/// * Errors: nobody reads the line that is waited for. Whoever has read that may be gone.
pub(super) fn announce(place: &Place<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    // First: who waits for the other line may go on at once.
    if let Some(address) = place.metrics_address {
        writeln!(out, "metrics on http://{address}/metrics")?;
    }
    writeln!(out, "listening on {}", place.url())?;
    out.flush()?;
    let rest = place.dashboard() + &place.exports();
    let _gone = out.write_all(rest.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

impl Place<'_> {
    fn scheme(&self) -> &'static str {
        if self.settings.tls.is_some() { "https" } else { "http" }
    }

    /// Where the API is.
    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    /// Where the dashboard is, if there is one.
    fn dashboard(&self) -> String {
        match self.settings.dashboard {
            true => format!("dashboard on {}/dashboard\n", self.url()),
            false => String::new(),
        }
    }

    /// Lines to paste into a shell of this machine. The token is no part of them, but where it is.
    fn exports(&self) -> String {
        // Certificates are rarely for the address that means all of them.
        let host = if self.address.ip().is_unspecified() {
            format!("localhost:{}", self.address.port())
        } else {
            self.address.to_string()
        };
        let url = format!("{}://{host}", self.scheme());
        let token = match (&self.settings.root_token_file, self.has_root) {
            (Some(path), _) => format!("\"$(cat {})\"", quoted(path)),
            (None, true) => format!("\"${ROOT_TOKEN_VARIABLE}\""),
            // Clients want one, whatever it is.
            (None, false) => "any".to_owned(),
        };
        let mut lines = format!(
            "export S2_ACCOUNT_ENDPOINT={url}\nexport S2_BASIN_ENDPOINT={url}\n\
             export S2_ACCESS_TOKEN={token}\n"
        );
        if self.settings.tls == Some(Tls::SelfSigned) {
            lines.push_str("export S2_SSL_NO_VERIFY=true\n");
        }
        lines
    }
}

/// A path as one word of a shell, within double quotes or without.
fn quoted(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Given;

    fn exports(given: Given, has_root: bool, address: &str) -> String {
        let settings = Settings::from(given, 1).unwrap();
        let address = address.parse().unwrap();
        Place { settings: &settings, has_root, address, metrics_address: None }.exports()
    }

    #[test]
    fn lines_for_a_shell() {
        let plain = "export S2_ACCOUNT_ENDPOINT=http://127.0.0.1:7\n\
                     export S2_BASIN_ENDPOINT=http://127.0.0.1:7\nexport S2_ACCESS_TOKEN=any\n";
        assert_eq!(exports(Given::default(), false, "127.0.0.1:7"), plain);
        let tls = Given { tls_self_signed: Some(true), ..Given::default() };
        let said = exports(tls, true, "0.0.0.0:7");
        assert!(said.contains("S2_BASIN_ENDPOINT=https://localhost:7\n"), "{said}");
        assert!(said.contains("S2_ACCESS_TOKEN=\"$THALWEG_ROOT_TOKEN\"\n"), "{said}");
        assert!(said.ends_with("export S2_SSL_NO_VERIFY=true\n"), "{said}");
        let file = Given { root_token_file: Some("/a dir/it's".into()), ..Given::default() };
        let said = exports(file, true, "[::1]:7");
        assert!(said.contains("S2_ACCOUNT_ENDPOINT=http://[::1]:7\n"), "{said}");
        assert!(said.contains(r#"S2_ACCESS_TOKEN="$(cat '/a dir/it'\''s')""#), "{said}");
    }
}
