//! What somebody may write into the log who has no key, and how far a cipher goes.

use super::*;
use crate::api::query::{ReadQuery, ReadStart};
use crate::audit::Origin;
use crate::codec::{BatchForm, Format};
use crate::io::sim::SimIo;
use crate::shard::call::{Answer, Asked, Call, CallResult};
use crate::shard::testkit::{Shard, basin, change_basin, create, live_with, path, provision};
use crate::types::append::{AppendBuilder, HeaderSpan, Span};
use crate::types::{BasinConfig, Cipher, StreamPosition};

const CIPHERS: [Cipher; 2] = [Cipher::Aegis256, Cipher::Aes256Gcm];

fn key() -> SuppliedKey {
    SuppliedKey::new(b"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
}

fn data() -> AppendInput {
    let mut builder = AppendBuilder::default();
    builder.push_record(b"x", None, Span { offset: 0, len: 1 }).unwrap();
    builder.finish(b"x".to_vec(), None, None).unwrap()
}

/// A data record, and a command after it.
fn data_and_fence() -> AppendInput {
    let buf = b"xfence";
    let mut builder = AppendBuilder::default();
    builder.push_record(buf, None, Span { offset: 0, len: 1 }).unwrap();
    let value = Span { offset: 1, len: 5 };
    builder.push_header(HeaderSpan { name: Span::default(), value });
    builder.push_record(buf, None, Span::default()).unwrap();
    builder.finish(buf.to_vec(), None, None).unwrap()
}

async fn read(shard: &Shard, stream: &str) -> CallResult {
    let start = ReadStart::SeqNum(0);
    let query =
        ReadQuery { start, count: None, bytes: None, until: None, wait_secs: None, clamp: false };
    let (form, asked) = (BatchForm::Json(Format::Raw), Asked::default());
    shard.handle(Call::Read { path: path(stream), key: Some(key()), query, form, asked }).await
}

async fn append(shard: &Shard, stream: &str) -> CallResult {
    let (input, asked) = (data(), Asked::default());
    let key = Some(key());
    shard.handle(Call::Append { path: path(stream), key, input, asked, receipt: false }).await
}

/// A shard with the encrypted streams "a" and "b".
fn with_streams(cipher: Cipher, life: impl AsyncFnOnce(Shard)) {
    live_with(
        &SimIo::new(1),
        |_, _| {},
        async |shard| {
            let config = BasinConfig { stream_cipher: Some(cipher), ..BasinConfig::default() };
            let call = Call::CreateBasin { basin: basin(), config, creation: None };
            change_basin(&shard, call).await.unwrap();
            provision(&shard, create("a")).await;
            provision(&shard, create("b")).await;
            life(shard).await;
        },
    );
}

#[test]
fn what_belongs_to_another_stream_or_to_nobody_does_not_open() {
    for cipher in CIPHERS {
        for forged in ["of a", "plain"] {
            with_streams(cipher, async |shard| {
                append(&shard, "b").await.unwrap();
                assert!(matches!(read(&shard, "b").await, Ok(Answer::Body(..))));
                let stream =
                    |name: &str| shard.stream_for_tail(&path(name), Origin::default()).unwrap();
                let key = shard.key_to(&stream("a"), Some(&key())).unwrap();
                let key = key.filter(|_| forged == "of a");
                let (_, ticket) =
                    shard.sequence(&stream("b"), &data(), key.as_ref(), None).unwrap();
                shard.settle(ticket).await.unwrap();
                let refused = read(&shard, "b").await.unwrap_err();
                assert_eq!(refused, Refusal::DecryptionFailed, "{cipher:?} {forged}");
            });
        }
    }
}

/// Of a batch whose second record does not open, nobody gets the first, so nobody is said to.
#[test]
fn what_is_refused_counts_as_read_by_nobody() {
    with_streams(Cipher::Aegis256, async |shard| {
        append(&shard, "b").await.unwrap();
        let stream = shard.stream_for_tail(&path("b"), Origin::default()).unwrap();
        let (_, ticket) = shard.sequence(&stream, &data(), None, None).unwrap();
        shard.settle(ticket).await.unwrap();
        assert_eq!(read(&shard, "b").await.unwrap_err(), Refusal::DecryptionFailed);
        assert_eq!(shard.metrics.snapshot().records_read, 0);
    });
}

/// Section 4.4 of the specification, step 5.
#[test]
fn aes_streams_end_at_2_to_the_32_and_others_do_not() {
    for cipher in CIPHERS {
        with_streams(cipher, async |shard| {
            let stream = shard.stream_for_tail(&path("a"), Origin::default()).unwrap();
            let key = shard.key_to(&stream, Some(&key())).unwrap();
            let last = u64::from(u32::MAX);
            let is_limited = cipher == Cipher::Aes256Gcm;
            let fits = |input: &AppendInput, at| check_seq_nums(key.as_ref(), input, at).is_ok();
            assert!(fits(&data(), last));
            assert!(fits(&data_and_fence(), last), "commands are not encrypted");
            assert_eq!(fits(&data(), last + 1), !is_limited);
            assert_eq!(fits(&data_and_fence(), last + 1), !is_limited);
            assert!(check_seq_nums(None, &data(), u64::MAX).is_ok(), "nothing is encrypted");

            let accepted = stream.accepted.get();
            let tail = StreamPosition { seq_num: last + 1, ..accepted.tail };
            stream.accepted.set(crate::stream::State { tail, ..accepted });
            if is_limited {
                let refused = append(&shard, "a").await.unwrap_err();
                assert!(matches!(refused, Refusal::Invalid(_)), "{refused:?}");
                assert_eq!(stream.accepted.get().tail, tail, "nothing was sequenced");
            }
        });
    }
}
