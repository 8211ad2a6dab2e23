//! Access tokens: shard 0 decides and logs, every core knows them, that of shard 0 last.
//!
//! As with basins, an answer goes out only when all cores know what it says: whoever is told a
//! secret can use it through any of them at once, and one that was revoked is refused by all.
//! Changes of one token take turns on the core of shard 0.
//!
//! A token that has expired counts as absent at once; that it is gone is logged later, so that
//! they do not pile up.

use std::rc::Rc;

use super::call::{Answer, Call, CallResult, Page};
use super::core::Core;
use super::engine::{Engine, Note, Refused, json};
use crate::auth::secret::SecretHash;
use crate::control::{Gone, TokenRecord};
use crate::io::Io;
use crate::log::entry::Kind;
use crate::types::{Refusal, TokenId, TokenInfo};

/// Most access tokens at a time, those that expired and are not removed yet included. Every core
/// keeps each in memory.
pub(super) const TOKENS_MAX: usize = 100_000;
/// How often tokens that expired are looked for, in microseconds.
const EXPIRY_US: u64 = 60_000_000;
/// Tokens that are looked at, or handed to another core, without a pause.
const TOKENS_STEP: usize = 512;

impl<I: Io> Core<I> {
    /// Changes a token on shard 0, which is on this core, and has all cores know it.
    pub(super) async fn change_token(
        self: &Rc<Self>,
        engine: &Rc<Engine<I>>,
        id: &TokenId,
        call: Call,
    ) -> CallResult {
        let _turn = self.token_turns.take(id).await;
        let revokes = matches!(call, Call::RevokeToken(_));
        let result = engine.handle(call).await;
        match &result {
            Err(Refusal::Storage(reason)) if revokes => {
                // It is known, and cannot be written that it is gone. Who revokes it means it.
                self.tell_every_core(|| Call::DropTokenCopy(id.clone())).await?;
                let message = format!(
                    "{reason}; the token is let in no more until the server starts again, and \
                     then must be revoked again"
                );
                return Err(Refusal::Storage(message));
            }
            Ok(Answer::Token(record)) => {
                self.tell_every_core(|| Call::CopyTokens(vec![(**record).clone()])).await?;
            }
            Ok(Answer::Done) => self.tell_every_core(|| Call::DropTokenCopy(id.clone())).await?,
            _ => {}
        }
        result
    }

    /// At start: has all cores know shard 0's tokens. Says how many of those that still hold were
    /// issued by anybody, which who has set a root token since may not expect.
    pub(super) async fn share_all_tokens(self: &Rc<Self>) -> Result<(), Refusal> {
        let Some(engine) = self.engines.get(&0) else { return Ok(()) };
        let now_us = engine.io.wall_us();
        let (mut after, mut by_anybody) = (None, 0_u64);
        loop {
            let records = engine.tokens_after(after.as_ref());
            let Some(last) = records.last() else { break };
            after = Some(last.info.id.clone());
            let holds = |record: &&TokenRecord| !record.info.is_expired(now_us);
            by_anybody += records.iter().filter(|r| r.by_anybody).filter(holds).count() as u64;
            self.tell_every_core(|| Call::CopyTokens(records.clone())).await?;
        }
        if by_anybody > 0 && !self.gate.is_open() {
            tracing::warn!(
                count = by_anybody,
                "access tokens that were issued while the server asked nobody for one still hold: \
                 revoke those that you do not know"
            );
        }
        Ok(())
    }

    /// Tells every core, that of shard 0 last.
    async fn tell_every_core(self: &Rc<Self>, call: impl Fn() -> Call) -> Result<(), Refusal> {
        // The first shards are spread over all cores, one each.
        let others = (1..self.cores()).map(|shard| self.call(shard, call()));
        futures_util::future::try_join_all(others).await?;
        self.call(0, call()).await.map(|_| ())
    }

    /// Knows these tokens from now on.
    pub(super) fn take_tokens(&self, records: Vec<TokenRecord>) -> Answer {
        for TokenRecord { info, hash, .. } in records {
            self.gate.tokens.put(SecretHash::from_bytes(hash), info);
        }
        Answer::Done
    }

    /// Knows a token no more.
    pub(super) fn drop_token(&self, id: &TokenId) -> Answer {
        self.gate.tokens.remove(id);
        Answer::Done
    }

    /// Removes tokens that have expired, until the log fails; on the core of shard 0.
    pub(super) async fn run_token_expiry(self: Rc<Self>) {
        let Some(engine) = self.engines.get(&0).map(Rc::clone) else { return };
        while engine.durable.failure().is_none() {
            engine.io.sleep_us(EXPIRY_US).await;
            self.remove_expired_tokens(&engine).await;
        }
    }

    async fn remove_expired_tokens(self: &Rc<Self>, engine: &Rc<Engine<I>>) {
        let mut after = None;
        loop {
            let looked_at = engine.tokens_after(after.as_ref());
            let Some(last) = looked_at.last() else { return };
            after = Some(last.info.id.clone());
            let now_us = engine.io.wall_us();
            for record in looked_at.into_iter().filter(|r| r.info.is_expired(now_us)) {
                // One that cannot be removed now, on a full disk, is met again.
                if let Err(error) = self.call(0, Call::ForgetToken(record.info.id)).await {
                    tracing::debug!(%error, "an expired access token is kept for now");
                    return;
                }
            }
            engine.io.sleep_us(1).await;
        }
    }
}

impl<I: Io> Engine<I> {
    /// Issues a token whose id is free.
    pub(super) async fn issue_token(&self, record: TokenRecord) -> CallResult {
        match self.log_token(&record) {
            Ok(ticket) => self.settle(ticket).await.map(|()| Answer::Token(Box::new(record))),
            Err(refused) => self.refuse(refused).await,
        }
    }

    /// Without an await: whole or not at all. Returns the ticket of what the answer reveals.
    fn log_token(&self, record: &TokenRecord) -> Result<u64, Refused> {
        self.check_open()?;
        let id = &record.info.id;
        let mut tokens = self.tokens.borrow_mut();
        match tokens.get(id) {
            Some(known) if !known.record.info.is_expired(self.io.wall_us()) => {
                let refusal = Refusal::AlreadyExists(format!("access token `{id}`"));
                return Err(Refused { refusal, ticket: known.ticket });
            }
            // The new one takes the place of one that expired.
            Some(_) => {}
            None if tokens.len() >= TOKENS_MAX => {
                let message = format!("there are {TOKENS_MAX} access tokens already; revoke some");
                return Err(Refusal::QuotaExhausted(message).into());
            }
            None => {}
        }
        self.check_room_to_create()?;
        let ticket = self.writer.append_metadata(Kind::Token, &json(record), Note::Token);
        tokens.put(id.clone(), Rc::new(record.clone()), ticket);
        Ok(ticket)
    }

    /// Revokes a token.
    pub(super) async fn revoke_token(&self, id: &TokenId) -> CallResult {
        self.log_token_gone(id, |info, now_us| !info.is_expired(now_us)).await
    }

    /// Removes a token if it has expired.
    pub(super) async fn forget_token(&self, id: &TokenId) -> CallResult {
        match self.log_token_gone(id, TokenInfo::is_expired).await {
            // Revoked meanwhile, or issued anew.
            Err(Refusal::AccessTokenNotFound(_)) => Ok(Answer::Kept),
            done => done,
        }
    }

    async fn log_token_gone(
        &self,
        id: &TokenId,
        goes: impl FnOnce(&TokenInfo, u64) -> bool,
    ) -> CallResult {
        let now_us = self.io.wall_us();
        let goes = self.tokens.borrow().get(id).is_some_and(|t| goes(&t.record.info, now_us));
        if !goes {
            return Err(Refusal::AccessTokenNotFound(id.to_string()));
        }
        self.check_open()?;
        self.check_room_to_change()?;
        let gone = json(&Gone { id: 0, name: id.to_string() });
        let note = Note::TokenGone(id.clone());
        let ticket = self.writer.append_metadata(Kind::TokenGone, &gone, note);
        self.settle(ticket).await.map(|()| Answer::Done)
    }

    /// Tokens that are durable and have not expired, sorted by id.
    pub(super) fn list_tokens(&self, page: &Page) -> Answer {
        let (now_us, ticket) = (self.io.wall_us(), self.durable.reached());
        let tokens = self.tokens.borrow();
        let from = page.prefix.as_str().max(&page.start_after);
        let infos = tokens.durable_from(from, ticket).map(|record| &record.info);
        let matching = infos.take_while(|info| info.id.as_str().starts_with(&page.prefix));
        let shown = matching.filter(|info| {
            !info.is_expired(now_us) && info.id.as_str() > page.start_after.as_str()
        });
        Answer::Tokens(shown.take(page.limit).cloned().collect())
    }

    /// Some of the tokens after `after`, sorted by id.
    fn tokens_after(&self, after: Option<&TokenId>) -> Vec<TokenRecord> {
        let tokens = self.tokens.borrow();
        let records =
            tokens.durable_from(after.map_or("", TokenId::as_str), self.durable.reached());
        let after = records.filter(|record| Some(&record.info.id) != after);
        after.take(TOKENS_STEP).map(|record| (**record).clone()).collect()
    }
}

#[cfg(test)]
mod tests;
