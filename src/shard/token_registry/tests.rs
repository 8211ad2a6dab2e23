//! Tokens of a shard on a simulated disk: what is logged, what waits, what a crash leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use futures_util::future::{self, Either};
use proptest::prelude::*;

use super::*;
use crate::io::sim::{Faults, SimIo};
use crate::io::{Clock, Disk as _, Tasks as _};
use crate::log::checkpoint;
use crate::shard::testkit::{LOG, Shard, assert_whole, connection_settings, live_with};
use crate::types::{PermissionSet, Scope};

/// Far from any time that a simulation reaches.
const NEVER_US: u64 = u64::MAX / 2;

fn live<T>(io: &SimIo, life: impl AsyncFnOnce(Shard) -> T) -> T {
    live_with(io, |_, _| {}, life)
}

fn id(text: &str) -> TokenId {
    TokenId::new(text).expect("legal")
}

/// Told apart by when it was created, as those are that are issued one after the other.
fn record(name: &str, created_us: u64, expires_us: Option<u64>) -> TokenRecord {
    let info = TokenInfo {
        id: id(name),
        expires_us,
        auto_prefix_streams: false,
        scope: Scope { ops: PermissionSet::of(crate::types::Permission::ALL), ..Scope::default() },
    };
    let hash = [u8::try_from(created_us % 251).expect("below"); 32];
    TokenRecord { info, hash, created_us, by_anybody: false }
}

fn issue(record: &TokenRecord) -> Call {
    Call::IssueToken(Box::new(record.clone()))
}

async fn refusal(shard: &Shard, call: Call) -> Refusal {
    shard.handle(call).await.expect_err("refused")
}

fn page(prefix: &str, start_after: &str, limit: usize) -> Page {
    Page { prefix: prefix.to_owned(), start_after: start_after.to_owned(), limit }
}

fn listed(shard: &Shard, page: &Page) -> Vec<String> {
    match shard.list_tokens(page) {
        Answer::Tokens(infos) => infos.iter().map(|info| info.id.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

/// What there is, expired or not.
fn kept(shard: &Shard) -> Vec<TokenRecord> {
    shard.tokens_after(None)
}

#[test]
fn an_id_is_used_once_until_it_is_revoked() {
    live(&SimIo::new(1), async |shard| {
        let first = record("t", 1, None);
        shard.handle(issue(&first)).await.expect("issued");
        let again = record("t", 2, None);
        let exists = Refusal::AlreadyExists("access token `t`".to_owned());
        assert_eq!(refusal(&shard, issue(&again)).await, exists);
        assert_eq!(kept(&shard), [first]);
        shard.handle(Call::RevokeToken(id("t"))).await.expect("revoked");
        let not_found = Refusal::AccessTokenNotFound("t".to_owned());
        assert_eq!(refusal(&shard, Call::RevokeToken(id("t"))).await, not_found);
        shard.handle(issue(&again)).await.expect("free again");
        assert_eq!(kept(&shard), [again]);
    });
}

#[test]
fn an_expired_token_counts_as_absent_and_is_removed_in_time() {
    live(&SimIo::new(2), async |shard| {
        let expires_us = shard.io.wall_us() + 1_000_000;
        let (brief, lasting) = (record("brief", 1, Some(expires_us)), record("lasting", 2, None));
        for record in [&brief, &lasting] {
            shard.handle(issue(record)).await.expect("issued");
        }
        assert!(matches!(shard.handle(Call::ForgetToken(id("brief"))).await, Ok(Answer::Kept)));
        assert_eq!(listed(&shard, &page("", "", 10)), ["brief", "lasting"]);
        shard.io.sleep_us(1_000_001).await;
        assert_eq!(listed(&shard, &page("", "", 10)), ["lasting"]);
        let not_found = Refusal::AccessTokenNotFound("brief".to_owned());
        assert_eq!(refusal(&shard, Call::RevokeToken(id("brief"))).await, not_found);
        assert_eq!(kept(&shard), [brief, lasting.clone()], "not removed yet");
        for name in ["brief", "lasting", "never there"] {
            let forgotten = shard.handle(Call::ForgetToken(id(name))).await;
            let goes = matches!(forgotten, Ok(Answer::Done));
            assert_eq!(goes, name == "brief", "{forgotten:?}");
        }
        assert_eq!(kept(&shard), [lasting]);
        let next = record("brief", 3, Some(shard.io.wall_us() + 1));
        shard.handle(issue(&next)).await.expect("free again");
        shard.io.sleep_us(2).await;
        let after = record("brief", 4, None);
        shard.handle(issue(&after)).await.expect("free again, though it was not removed");
        assert_eq!(kept(&shard)[0], after);
    });
}

#[test]
fn no_answer_and_no_list_reveals_what_is_not_durable() {
    live(&SimIo::new(3), async |shard| {
        let token = record("t", 1, None);
        let mut first = Box::pin(shard.handle(issue(&token)));
        assert!((&mut first).now_or_never().is_none(), "issuing waits");
        assert!(shard.handle(issue(&token)).now_or_never().is_none(), "so does the refusal");
        assert!(listed(&shard, &page("", "", 10)).is_empty());
        first.await.expect("issued");
        assert_eq!(listed(&shard, &page("", "", 10)), ["t"]);
        let mut revoked = Box::pin(shard.handle(Call::RevokeToken(id("t"))));
        assert!((&mut revoked).now_or_never().is_none(), "revoking waits");
        assert_eq!(listed(&shard, &page("", "", 10)), ["t"]);
        revoked.await.expect("revoked");
        assert!(listed(&shard, &page("", "", 10)).is_empty());
    });
}

#[test]
fn lists_are_pages_in_the_order_of_bytes() {
    live(&SimIo::new(4), async |shard| {
        for (number, name) in (0..).zip(["b", "a/2", "a", "a/1", "é", "a0"]) {
            shard.handle(issue(&record(name, number, None))).await.expect("issued");
        }
        for (prefix, start_after, limit, expected) in [
            ("", "", 10, &["a", "a/1", "a/2", "a0", "b", "é"][..]),
            ("", "a/1", 2, &["a/2", "a0"]),
            ("a/", "", 10, &["a/1", "a/2"]),
            ("a/", "A", 10, &["a/1", "a/2"]),
            ("a/", "a/1", 10, &["a/2"]),
            ("a/", "b", 10, &[]),
            ("a", "a", 2, &["a/1", "a/2"]),
            ("c", "", 10, &[]),
            ("", "\u{10ffff}", 10, &[]),
        ] {
            let listed = listed(&shard, &page(prefix, start_after, limit));
            assert_eq!(listed, expected, "{prefix:?} after {start_after:?}");
        }
    });
}

#[test]
fn there_are_only_so_many_tokens() {
    live(&SimIo::new(5), async |shard| {
        let brief = record("brief", 1, Some(shard.io.wall_us() + 1));
        shard.handle(issue(&brief)).await.expect("issued");
        for number in 1..TOKENS_MAX as u64 {
            let record = Rc::new(record(&format!("t{number}"), number, None));
            shard.tokens.borrow_mut().put(record.info.id.clone(), record, 0);
        }
        shard.io.sleep_us(2).await;
        let refused = refusal(&shard, issue(&record("one more", 1, None))).await;
        let message = "there are 100000 access tokens already; revoke some".to_owned();
        assert_eq!(refused, Refusal::QuotaExhausted(message));
        let again = record("brief", 1, None);
        shard.handle(issue(&again)).await.expect("in the place of one that expired");
        shard.handle(Call::RevokeToken(id("t7"))).await.expect("revoked");
        shard.handle(issue(&record("t7", 8, None))).await.expect("there is room for one");
    });
}

#[test]
fn a_checkpoint_alone_keeps_tokens_and_holds_only_what_is_durable() {
    let io = SimIo::new(7);
    live(&io, async |shard| {
        shard.handle(issue(&record("kept", 1, None))).await.expect("issued");
        shard.handle(issue(&record("revoked", 2, None))).await.expect("issued");
        shard.handle(Call::RevokeToken(id("revoked"))).await.expect("revoked");
        let mut lost = Box::pin(shard.handle(issue(&record("lost", 3, None))));
        assert!((&mut lost).now_or_never().is_none());
        let mut draft = shard.begin_checkpoint();
        while shard.save_streams(&mut draft, 1) {}
        shard.checkpoint().await.expect("written");
    });
    assert!(!checkpoint::list(&io).expect("readable").is_empty(), "{:?}", io.list());
    live(&io.crash(8), async |shard| {
        let names: Vec<_> = kept(&shard).iter().map(|r| r.info.id.to_string()).collect();
        assert!(names == ["kept"] || names == ["kept", "lost"], "{names:?}");
    });
}

/// What may be asked about a token.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Issue { expires: bool },
    Revoke,
    Forget,
}

impl Asked {
    fn call(self, name: &str, number: u64, now_us: u64) -> Call {
        match self {
            Self::Issue { expires } => issue(&record(name, number, expires_at(expires, now_us))),
            Self::Revoke => Call::RevokeToken(id(name)),
            Self::Forget => Call::ForgetToken(id(name)),
        }
    }

    /// What becomes of the token.
    fn apply(
        self,
        name: &str,
        number: u64,
        now_us: u64,
        before: Option<TokenRecord>,
    ) -> Option<TokenRecord> {
        let is_expired = before.as_ref().is_some_and(|r| r.info.is_expired(now_us));
        match self {
            Self::Issue { expires } if before.is_none() || is_expired => {
                Some(record(name, number, expires_at(expires, now_us)))
            }
            Self::Revoke if !is_expired => None,
            Self::Forget if is_expired => None,
            _ => before,
        }
    }
}

/// Soon enough to happen between two requests, or not at all.
fn expires_at(expires: bool, now_us: u64) -> Option<u64> {
    Some(if expires { now_us + 500 } else { NEVER_US })
}

fn any_asked() -> impl Strategy<Value = (usize, Asked)> {
    let asked = prop_oneof![
        3 => any::<bool>().prop_map(|expires| Asked::Issue { expires }),
        1 => Just(Asked::Revoke),
        1 => Just(Asked::Forget),
    ];
    (0_usize..3, asked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever was answered is there after a crash; what was under way is there or is not.
    #[test]
    fn a_crash_takes_nothing_that_was_answered(
        asked in prop::collection::vec((any_asked(), 0_u64..400), 0..16),
        checkpoint_after in 0_usize..16,
        under_way in any_asked(),
        seed in any::<u64>(),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let io = SimIo::new(seed);
        let mut model: BTreeMap<&str, Option<TokenRecord>> = BTreeMap::new();
        // What is under way becomes of its token, if it becomes durable.
        let mut may_become = None;
        live(&io, async |shard| {
            for (number, ((token, asked), pause_us)) in (1..).zip(&asked) {
                let name = NAMES[*token];
                let before = model.get(name).cloned().flatten();
                let now_us = shard.io.wall_us();
                let after = asked.apply(name, number, now_us, before.clone());
                let answered = shard.handle(asked.call(name, number, now_us)).await;
                let changes = matches!(answered, Ok(Answer::Token(_) | Answer::Done));
                assert_eq!(changes, after != before, "{asked:?} of {before:?}: {answered:?}");
                model.insert(name, after);
                if number == checkpoint_after as u64 {
                    shard.checkpoint().await.expect("written");
                }
                shard.io.sleep_us(*pause_us).await;
            }
            let (name, asked) = (NAMES[under_way.0], under_way.1);
            let now_us = shard.io.wall_us();
            let after = asked.apply(name, 99, now_us, model.get(name).cloned().flatten());
            let answer = Box::pin(shard.handle(asked.call(name, 99, now_us)));
            let crash = Box::pin(shard.io.sleep_us(seed % 600));
            if let Either::Left(_) = future::select(answer, crash).await {
                model.insert(name, after);
            } else {
                may_become = Some((name, after));
            }
        });
        let io = io.crash(seed);
        assert_whole(&io, LOG);
        live(&io, async |shard| {
            let found: BTreeMap<String, TokenRecord> =
                kept(&shard).into_iter().map(|r| (r.info.id.to_string(), r)).collect();
            for name in NAMES {
                let answered = model.get(name).cloned().flatten();
                let found = found.get(name).cloned();
                let may_be = may_become == Some((name, found.clone()));
                assert!(found == answered || may_be, "{name}: {found:?}, not {answered:?}");
            }
        });
    }
}

/// The core of a server with one shard, on whose disk there may be tokens.
async fn core(shard: &Shard) -> Rc<Core<SimIo>> {
    let settings = connection_settings();
    let engines = BTreeMap::from([(0, Rc::clone(shard))]);
    let load = (0, Arc::from([AtomicUsize::new(0)]));
    let core = Rc::new(Core::new(1, engines, vec![None], ((), ()), settings, load));
    core.share_all_tokens().await.expect("the one shard is here");
    core
}

/// What cannot be written does not last, but who revokes a token does not want it let in.
#[test]
fn a_token_revoked_after_the_log_failed_is_let_in_no_more() {
    let io = SimIo::new(4);
    let (known, other) = (record("t", 1, None), record("u", 2, None));
    live(&io, async |shard| {
        let core = core(&shard).await;
        for record in [&known, &other] {
            core.call(0, issue(record)).await.expect("issued");
            assert!(lets_in(&core, record));
        }
        io.set_faults(Faults { fail_sync: Some(0), ..io.faults() });
        // The first learns that the log fails, the second that it has failed.
        for _ in 0..2 {
            let refused = core.call(0, Call::RevokeToken(id("t"))).await;
            let Err(Refusal::Storage(message)) = refused else { panic!("{refused:?}") };
            assert!(message.contains("revoked again"), "{message}");
            assert!(!lets_in(&core, &known));
        }
        assert!(lets_in(&core, &other), "nobody spoke of this one");
        let unknown = core.call(0, Call::RevokeToken(id("x"))).await;
        assert!(matches!(unknown, Err(Refusal::AccessTokenNotFound(_))), "{unknown:?}");
    });
}

/// Whether the core lets the token of this record in.
fn lets_in(core: &Core<SimIo>, record: &TokenRecord) -> bool {
    let found = core.gate.tokens.find(&SecretHash::from_bytes(record.hash));
    found.is_some_and(|grant| grant.info == record.info && !grant.is_ended())
}

#[test]
fn a_core_lets_in_whom_the_log_says_and_forgets_who_expired() {
    const TOKENS: u64 = 3 * TOKENS_STEP as u64 / 2;
    let brief = |number: u64| number.is_multiple_of(3);
    let token = |number: u64, io: &SimIo| {
        let expires_us = if brief(number) { io.wall_us() + 30_000_000 } else { NEVER_US };
        let mut record = record(&format!("t{number:04}"), number, Some(expires_us));
        record.hash[..8].copy_from_slice(&number.to_le_bytes());
        record
    };
    let io = SimIo::new(9);
    let records: Vec<_> = (0..TOKENS).map(|number| token(number, &io)).collect();
    live(&io, async |shard| {
        let core = core(&shard).await;
        for record in &records {
            assert!(!lets_in(&core, record));
            core.call(0, issue(record)).await.expect("issued");
            assert!(lets_in(&core, record), "{record:?}");
        }
        core.call(0, Call::RevokeToken(records[1].info.id.clone())).await.expect("revoked");
        assert!(!lets_in(&core, &records[1]));
        // Whoever asked goes away; what was logged is known to the core all the same.
        let given_up = core.call(0, Call::RevokeToken(records[2].info.id.clone())).now_or_never();
        assert!(given_up.is_none(), "it would have waited");
        shard.io.sleep_us(10_000).await;
        assert!(!lets_in(&core, &records[2]));
    });
    let io = io.kill(10);
    live(&io, async |shard| {
        let core = core(&shard).await;
        for (number, record) in records.iter().enumerate() {
            assert_eq!(lets_in(&core, record), number != 1 && number != 2, "{record:?}");
        }
        shard.io.spawn(Rc::clone(&core).run_token_expiry(), ());
        shard.io.sleep_us(EXPIRY_US + 30_000_000).await;
        let left = records.iter().zip(0..).filter(|(_, n)| !brief(*n) && *n != 1 && *n != 2);
        let left: Vec<_> = left.map(|(record, _)| record.clone()).collect();
        assert_eq!(shard.tokens.borrow().len(), left.len());
        for record in &records {
            assert_eq!(lets_in(&core, record), left.contains(record), "{record:?}");
        }
    });
    assert_whole(&io.kill(11), LOG);
}
