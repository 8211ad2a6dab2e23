//! Who can reach an address of the server, and what must be said before it listens there.
//!
//! The rule: this machine alone, unless everybody else is asked for a token and cannot read along.
//! Whoever wants less says so, once for each of the two, and it is announced for as long as the
//! server runs.

use std::net::SocketAddr;

/// What protects an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Protection {
    /// Requests need a token.
    pub tokens: bool,
    /// Connections are encrypted.
    pub tls: bool,
}

/// What the operator does without, in so many words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waived {
    /// `--insecure-no-auth`.
    pub auth: bool,
    /// `--insecure-no-tls`.
    pub tls: bool,
}

/// What an address that others reach lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Whoever reaches it may do everything.
    pub no_auth: bool,
    /// Whoever is on the way reads and changes everything.
    pub no_tls: bool,
}

/// Why the server does not listen at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExposureError {
    /// Nobody is asked for a token.
    #[error(
        "{0} can be reached from other machines, and nobody is asked for a token there: listen on \
         loopback, or say --insecure-no-auth"
    )]
    NoAuth(SocketAddr),
    /// Nothing is encrypted.
    #[error(
        "{0} can be reached from other machines, and nothing is encrypted there: listen on \
         loopback, or say --insecure-no-tls"
    )]
    NoTls(SocketAddr),
}

/// What `address` lacks, if the server may listen there.
///
/// * Shape: a loopback address lacks nothing, whatever protects it.
/// * Errors: [`ExposureError`] for the first thing that is missing and not waived.
pub fn judge(
    address: SocketAddr,
    protection: Protection,
    waived: Waived,
) -> Result<Exposure, ExposureError> {
    // `::ffff:127.0.0.1` is loopback too.
    if address.ip().to_canonical().is_loopback() {
        return Ok(Exposure::default());
    }
    let exposure = Exposure { no_auth: !protection.tokens, no_tls: !protection.tls };
    match exposure {
        Exposure { no_auth: true, .. } if !waived.auth => Err(ExposureError::NoAuth(address)),
        Exposure { no_tls: true, .. } if !waived.tls => Err(ExposureError::NoTls(address)),
        exposure => Ok(exposure),
    }
}

/// What the server's two addresses lack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exposed {
    /// The address of the API.
    pub main: Exposure,
    /// The separate address of metrics, if there is one.
    pub metrics: Exposure,
}

impl Exposed {
    /// Everything that may lack, by name, and whether it does.
    #[must_use]
    pub fn facts(&self) -> [(&'static str, bool); 4] {
        [
            ("no_auth", self.main.no_auth),
            ("no_tls", self.main.no_tls),
            ("metrics_no_auth", self.metrics.no_auth),
            ("metrics_no_tls", self.metrics.no_tls),
        ]
    }

    /// The names of what lacks, for a header; `None` when nothing does.
    #[must_use]
    pub fn header(&self) -> Option<String> {
        let lacking = self.facts().into_iter().filter(|(_, lacks)| *lacks).map(|(name, _)| name);
        let names: Vec<&str> = lacking.collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: [&str; 4] =
        ["127.0.0.1:4440", "127.9.9.9:1", "[::1]:4440", "[::ffff:127.0.0.1]:4440"];
    const REACHED: [&str; 6] = [
        "0.0.0.0:4440",
        "[::]:4440",
        "10.0.0.7:4440",
        "192.168.1.5:1",
        "[fe80::1]:4440",
        "[::ffff:10.0.0.7]:4440",
    ];

    /// All combinations of four switches.
    fn switches() -> impl Iterator<Item = (Protection, Waived)> {
        (0..16).map(|bits| {
            let bit = |n: u32| bits & (1 << n) != 0;
            let protection = Protection { tokens: bit(0), tls: bit(1) };
            (protection, Waived { auth: bit(2), tls: bit(3) })
        })
    }

    #[test]
    fn loopback_lacks_nothing() {
        for text in LOOPBACK {
            for (protection, waived) in switches() {
                let judged = judge(text.parse().unwrap(), protection, waived);
                assert_eq!(judged, Ok(Exposure::default()), "{text} {protection:?} {waived:?}");
            }
        }
    }

    #[test]
    fn other_addresses_need_each_protection_or_its_waiver() {
        for text in REACHED {
            let address = text.parse().unwrap();
            for (protection, waived) in switches() {
                let expected = if !protection.tokens && !waived.auth {
                    Err(ExposureError::NoAuth(address))
                } else if !protection.tls && !waived.tls {
                    Err(ExposureError::NoTls(address))
                } else {
                    Ok(Exposure { no_auth: !protection.tokens, no_tls: !protection.tls })
                };
                let judged = judge(address, protection, waived);
                assert_eq!(judged, expected, "{text} {protection:?} {waived:?}");
            }
        }
    }

    #[test]
    fn the_cases_that_operators_meet() {
        let none = Protection::default();
        let both = Protection { tokens: true, tls: true };
        let tokens = Protection { tokens: true, tls: false };
        let everywhere = "0.0.0.0:4440".parse().unwrap();
        let cases = [
            (none, (false, false), Err(ExposureError::NoAuth(everywhere))),
            (none, (false, true), Err(ExposureError::NoAuth(everywhere))),
            (none, (true, false), Err(ExposureError::NoTls(everywhere))),
            (none, (true, true), Ok(Exposure { no_auth: true, no_tls: true })),
            (tokens, (false, false), Err(ExposureError::NoTls(everywhere))),
            (tokens, (false, true), Ok(Exposure { no_auth: false, no_tls: true })),
            (both, (false, false), Ok(Exposure::default())),
            // A waiver that is not needed exposes nothing.
            (both, (true, true), Ok(Exposure::default())),
        ];
        for (protection, (auth, tls), expected) in cases {
            assert_eq!(judge(everywhere, protection, Waived { auth, tls }), expected);
        }
    }

    #[test]
    fn the_header_names_what_lacks() {
        let main = Exposure { no_auth: true, no_tls: true };
        let metrics = Exposure { no_auth: false, no_tls: true };
        assert_eq!(Exposed::default().header(), None);
        let header = Exposed { main, metrics }.header();
        assert_eq!(header.as_deref(), Some("no_auth, no_tls, metrics_no_tls"));
    }
}
