//! The access tokens as one core knows them: found by the hash of what a client presents.
//!
//! Copies of what shard 0 decided, as those of basins are, and only of what is durable. A token
//! that was revoked or has expired leaves the table and is marked as ended, which its sessions
//! hear of at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::auth::secret::SecretHash;
use crate::auth::{Access, Grant};
use crate::io::notify::Notify;
use crate::types::{TokenId, TokenInfo};

/// The tokens of one core.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    table: RefCell<Table>,
    /// Called whenever a token ends. Whoever waits looks at its own: that is rare enough.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_hash: BTreeMap<SecretHash, Rc<Grant>>,
    by_id: BTreeMap<TokenId, SecretHash>,
    /// When each that expires does, soonest first.
    by_expiry: BTreeSet<(u64, TokenId)>,
}

impl Table {
    /// Takes a token out and marks it as ended; whether it was there.
    fn remove(&mut self, id: &TokenId) -> bool {
        let Some(hash) = self.by_id.remove(id) else { return false };
        let Some(grant) = self.by_hash.remove(&hash) else { return false };
        if let Some(expires_us) = grant.info.expires_us {
            self.by_expiry.remove(&(expires_us, id.clone()));
        }
        grant.end();
        true
    }
}

impl Tokens {
    /// Adds a token, in the place of an earlier one with its id, which ends. Nothing happens when
    /// it is there already.
    pub(super) fn put(&self, hash: SecretHash, info: TokenInfo) {
        let mut table = self.table.borrow_mut();
        if table.by_hash.get(&hash).is_some_and(|grant| grant.info == info) {
            return;
        }
        let replaced = table.remove(&info.id);
        if let Some(expires_us) = info.expires_us {
            table.by_expiry.insert((expires_us, info.id.clone()));
        }
        table.by_id.insert(info.id.clone(), hash);
        table.by_hash.insert(hash, Grant::new(info));
        drop(table);
        if replaced {
            self.ended.notify();
        }
    }

    /// Takes a token out that was revoked. Nothing happens when there is none.
    pub(super) fn remove(&self, id: &TokenId) {
        let removed = self.table.borrow_mut().remove(id);
        if removed {
            self.ended.notify();
        }
    }

    /// Takes out what has expired at `now_us`, in microseconds since the Unix epoch.
    pub(super) fn expire(&self, now_us: u64) {
        let mut table = self.table.borrow_mut();
        let mut any = false;
        while let Some((expires_us, id)) = table.by_expiry.first().cloned()
            && expires_us <= now_us
        {
            any |= table.remove(&id);
            // Already gone with it; without this, one that was not there would be found for ever.
            table.by_expiry.remove(&(expires_us, id));
        }
        drop(table);
        if any {
            self.ended.notify();
        }
    }

    /// The token whose secret has this hash, which may have expired a moment ago.
    ///
    /// * Cost: no allocation.
    pub(super) fn find(&self, hash: &SecretHash) -> Option<Rc<Grant>> {
        self.table.borrow().by_hash.get(hash).map(Rc::clone)
    }

    /// Waits until the token of `access` ends; for ever when there is none.
    pub(super) async fn ended(&self, access: &Access) {
        if access.token().is_none() {
            return std::future::pending().await;
        }
        while !access.is_ended() {
            self.ended.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;
    use crate::auth::secret::HashKey;
    use crate::types::Scope;

    fn info(id: &str, expires_us: Option<u64>) -> TokenInfo {
        let id = TokenId::new(id).expect("legal");
        TokenInfo { id, expires_us, auto_prefix_streams: false, scope: Scope::default() }
    }

    fn hash(secret: &str) -> SecretHash {
        HashKey::from_bytes([1; 32]).hash(secret.as_bytes())
    }

    fn found(tokens: &Tokens, secret: &str) -> Option<String> {
        tokens.find(&hash(secret)).map(|grant| grant.info.id.to_string())
    }

    #[test]
    fn a_token_is_found_by_its_secret_until_it_is_revoked() {
        let tokens = Tokens::default();
        tokens.put(hash("a"), info("first", None));
        tokens.put(hash("b"), info("second", None));
        assert_eq!(found(&tokens, "a").as_deref(), Some("first"));
        assert_eq!(found(&tokens, "b").as_deref(), Some("second"));
        assert_eq!(found(&tokens, "c"), None);
        let grant = tokens.find(&hash("a")).expect("is there");
        tokens.remove(&grant.info.id);
        tokens.remove(&grant.info.id);
        assert!(grant.is_ended());
        assert_eq!((found(&tokens, "a"), found(&tokens, "b").is_some()), (None, true));
    }

    #[test]
    fn a_new_token_with_an_old_id_takes_its_place() {
        let tokens = Tokens::default();
        tokens.put(hash("a"), info("t", Some(10)));
        let old = tokens.find(&hash("a")).expect("is there");
        tokens.put(hash("a"), info("t", Some(10)));
        assert!(!old.is_ended(), "told twice, nothing changed");
        tokens.put(hash("b"), info("t", None));
        assert!(old.is_ended());
        assert_eq!((found(&tokens, "a"), found(&tokens, "b").is_some()), (None, true));
        tokens.expire(u64::MAX);
        assert!(found(&tokens, "b").is_some(), "the old one's expiry is gone with it");
    }

    #[test]
    fn what_has_expired_is_gone_and_nothing_else() {
        let tokens = Tokens::default();
        for (secret, expires_us) in [("a", Some(10)), ("b", Some(20)), ("c", None)] {
            tokens.put(hash(secret), info(secret, expires_us));
        }
        let there = |now_us| {
            tokens.expire(now_us);
            ["a", "b", "c"].map(|secret| found(&tokens, secret).is_some())
        };
        assert_eq!(there(9), [true, true, true]);
        assert_eq!(there(10), [false, true, true]);
        assert_eq!(there(u64::MAX), [false, false, true]);
    }

    #[test]
    fn who_waits_for_the_end_hears_of_it_and_of_no_other() {
        let tokens = Tokens::default();
        tokens.put(hash("a"), info("a", None));
        tokens.put(hash("b"), info("b", Some(10)));
        let access = |secret| Access::Token(tokens.find(&hash(secret)).expect("is there"));
        let (a, b) = (access("a"), access("b"));
        let (mut first, mut second) = (pin!(tokens.ended(&a)), pin!(tokens.ended(&b)));
        assert_eq!((&mut first).now_or_never(), None);
        assert_eq!((&mut second).now_or_never(), None);
        tokens.expire(10);
        assert_eq!((&mut first).now_or_never(), None);
        assert_eq!((&mut second).now_or_never(), Some(()));
        tokens.remove(&TokenId::new("a").expect("legal"));
        assert_eq!((&mut first).now_or_never(), Some(()));
        assert_eq!(tokens.ended(&Access::Root).now_or_never(), None);
        assert_eq!(tokens.ended(&Access::Open).now_or_never(), None);
    }
}
