//! Who asks: the first question about every request (S2 specification, section 1.5).

use super::tokens::Tokens;
use crate::api::credential::{bearer, is_public, unauthenticated};
use crate::api::request::Parts;
use crate::api::{ApiError, Operation, access, route};
use crate::audit::Entry;
use crate::auth::Access;
use crate::auth::secret::{HashKey, SecretHash};

/// How clients are told apart.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Keys the hashes of this data directory's secrets.
    pub key: HashKey,
    /// The hash of the root token. Without one the server is open: it asks nobody who they are.
    pub root: Option<SecretHash>,
}

/// What a request's head says when it was looked at.
pub(super) struct Admitted {
    /// In whose name.
    pub access: Access,
    /// What is to be done, or why not.
    pub operation: Result<Operation, ApiError>,
    /// What was not permitted, for the audit log.
    pub tried: Option<Box<Entry>>,
}

impl Admitted {
    pub(super) fn refused(access: Access, error: ApiError) -> Self {
        Self { access, operation: Err(error), tried: None }
    }
}

/// What one core needs to know who asks.
pub(super) struct Gate {
    settings: AuthSettings,
    /// The tokens that were issued.
    pub(super) tokens: Tokens,
}

impl Gate {
    pub(super) fn new(settings: AuthSettings) -> Self {
        Self { settings, tokens: Tokens::default() }
    }

    /// Whether everybody may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.settings.root.is_none()
    }

    /// In whose name something is asked for before anybody looked who asks.
    pub(super) fn stranger(&self) -> Access {
        if self.is_open() { Access::Open } else { Access::Nobody }
    }

    /// Keys the hashes of secrets.
    pub(super) fn key(&self) -> &HashKey {
        &self.settings.key
    }

    /// Finds what a request asks for, in whose name, and that it is permitted as far as its head
    /// says; `now_us` is microseconds since the Unix epoch.
    ///
    /// * Errors: 401 before anything else is looked at, then as `route` and `authorize` say.
    /// * Cost: a comparison when the server is open.
    pub(super) fn admit(&self, parts: &Parts<'_>, now_us: impl FnOnce() -> u64) -> Admitted {
        let access = match self.access(parts, now_us) {
            Ok(access) => access,
            Err(error) => return Admitted::refused(self.stranger(), error),
        };
        let mut operation = match route(parts) {
            Ok(operation) => operation,
            Err(error) => return Admitted::refused(access, error),
        };
        match access::authorize(&access, &mut operation) {
            Ok(()) => Admitted { access, operation: Ok(operation), tried: None },
            Err(error) => {
                let tried = Some(Box::new(Entry::of(&operation, "", b"")));
                Admitted { tried, ..Admitted::refused(access, error) }
            }
        }
    }

    fn access(&self, parts: &Parts<'_>, now_us: impl FnOnce() -> u64) -> Result<Access, ApiError> {
        let Some(root) = &self.settings.root else { return Ok(Access::Open) };
        if is_public(parts) {
            return Ok(Access::Nobody);
        }
        let hash = self.settings.key.hash(bearer(parts.headers)?);
        if hash == *root {
            return Ok(Access::Root);
        }
        match self.tokens.find(&hash) {
            Some(grant) if !grant.info.is_expired(now_us()) => Ok(Access::Token(grant)),
            _ => Err(unauthenticated("unknown, revoked or expired access token")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Code;
    use crate::api::request::Headers;
    use crate::types::{Permission, PermissionSet, ResourceSet, Scope, TokenId, TokenInfo};

    struct Authorization(Option<&'static str>);

    impl Headers for Authorization {
        fn first(&self, name: &str) -> Option<&[u8]> {
            self.0.filter(|_| name == "authorization").map(str::as_bytes)
        }

        fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
            self.first(name).into_iter().for_each(each);
        }
    }

    /// A gate that knows the root token `root` and a token `listing`, which expires at 100.
    fn gate() -> Gate {
        let key = HashKey::from_bytes([1; 32]);
        let root = Some(key.hash(b"root"));
        let hash = key.hash(b"listing");
        let gate = Gate::new(AuthSettings { key, root });
        let scope = Scope {
            basins: ResourceSet::Prefix("".into()),
            ops: PermissionSet::of(&[Permission::ListBasins]),
            ..Scope::default()
        };
        let id = TokenId::new("t").expect("legal");
        let expires_us = Some(100);
        gate.tokens.put(hash, TokenInfo { id, expires_us, auto_prefix_streams: false, scope });
        gate
    }

    fn code(
        gate: &Gate,
        (method, path): (&str, &str),
        authorization: Option<&'static str>,
        now_us: u64,
    ) -> Option<Code> {
        let headers = Authorization(authorization);
        let parts = Parts { method, path, query: None, headers: &headers };
        gate.admit(&parts, || now_us).operation.err().and_then(|error| error.code())
    }

    const LIST: (&str, &str) = ("GET", "/v1/basins");

    #[test]
    fn who_is_unknown_is_refused_before_anything_else_is_looked_at() {
        let gate = gate();
        for asked in [LIST, ("GET", "/v1/nope"), ("TRACE", "/v1/basins"), ("GET", "/v1/basins/x")] {
            for authorization in [None, Some("Bearer other"), Some("Basic root"), Some("root")] {
                let found = code(&gate, asked, authorization, 0);
                assert_eq!(found, Some(Code::Authn), "{asked:?} {authorization:?}");
            }
        }
        assert_eq!(code(&gate, ("GET", "/v1/nope"), Some("Bearer root"), 0), Some(Code::NotFound));
    }

    #[test]
    fn root_may_do_everything_and_a_token_what_it_says() {
        let gate = gate();
        let delete = ("DELETE", "/v1/basins/test-basin-1");
        let denied = Some(Code::PermissionDenied);
        assert_eq!(code(&gate, LIST, Some("Bearer root"), 0), None);
        assert_eq!(code(&gate, delete, Some("Bearer root"), 0), None);
        assert_eq!(code(&gate, LIST, Some("Bearer listing"), 0), None);
        assert_eq!(code(&gate, delete, Some("Bearer listing"), 0), denied);
    }

    #[test]
    fn a_token_that_has_expired_or_was_revoked_is_unknown() {
        let gate = gate();
        let listing = Some("Bearer listing");
        assert_eq!(code(&gate, LIST, listing, 99), None);
        assert_eq!(code(&gate, LIST, listing, 100), Some(Code::Authn));
        assert_eq!(code(&gate, LIST, listing, 99), None, "nothing was removed");
        gate.tokens.remove(&TokenId::new("t").expect("legal"));
        assert_eq!(code(&gate, LIST, listing, 99), Some(Code::Authn));
    }

    #[test]
    fn health_metrics_and_options_ask_nobody() {
        let gate = gate();
        for asked in [("GET", "/health"), ("GET", "/metrics"), ("OPTIONS", "/v1/basins")] {
            assert_eq!(code(&gate, asked, None, 0), None, "{asked:?}");
            assert_eq!(code(&gate, asked, Some("Bearer other"), 0), None, "{asked:?}");
        }
    }

    #[test]
    fn what_was_tried_is_known_when_it_was_understood() {
        let gate = gate();
        let headers = Authorization(Some("Bearer listing"));
        let ask = |method, path| {
            let parts = Parts { method, path, query: None, headers: &headers };
            gate.admit(&parts, || 0).tried.map(|tried| format!("{tried:?}"))
        };
        let tried = ask("DELETE", "/v1/basins/test-basin-1").expect("not permitted");
        assert!(tried.contains("delete_basin") && tried.contains("test-basin-1"), "{tried}");
        assert_eq!((ask("GET", "/v1/basins"), ask("GET", "/v1/nope")), (None, None));
    }

    #[test]
    fn an_open_server_ignores_what_is_presented() {
        let key = HashKey::from_bytes([1; 32]);
        let gate = Gate::new(AuthSettings { key, root: None });
        for authorization in [None, Some("Bearer other"), Some("nonsense")] {
            assert_eq!(code(&gate, LIST, authorization, 0), None, "{authorization:?}");
        }
    }
}
