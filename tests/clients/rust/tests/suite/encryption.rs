//! Streams encrypted with the client's key.

use futures_util::StreamExt;
use s2_sdk::append_session::AppendSessionConfig;
use s2_sdk::types::{
    BasinConfig, CommandRecord, EncryptionAlgorithm, EncryptionKey, FencingToken, ReadSessionConfig,
};

use crate::common::{
    Contents, append_code, basin_with, bodies, client, code, config, count, from_seq_num, input,
    noise, read_back, read_code, record, record_with_headers, stream_in, texts, within,
};

const CIPHERS: [EncryptionAlgorithm; 2] =
    [EncryptionAlgorithm::Aegis256, EncryptionAlgorithm::Aes256Gcm];

fn key(byte: u8) -> EncryptionKey {
    EncryptionKey::new([byte; 32])
}

#[tokio::test]
async fn what_was_appended_with_a_key_is_read_with_it_in_every_way() {
    for cipher in CIPHERS {
        within(async {
            let s2 = client(config());
            let (basin, _) = basin_with(&s2, BasinConfig::new().with_stream_cipher(cipher)).await;
            let bare = stream_in(&basin, "s").await;
            let stream = bare.clone().with_encryption_key(key(7));
            let records = vec![
                record("text"),
                record(""),
                record_with_headers(noise(2, 5000), &[(b"k", b"v"), (b"\xff\x00", b"\xfe")]),
            ];
            stream.append(input(records.clone())).await.unwrap();
            let session = stream.append_session(AppendSessionConfig::new());
            session.submit(bodies(["more"])).await.unwrap().await.unwrap();
            session.close().await.unwrap();

            let read = read_back(&stream, 0, 4).await;
            assert_eq!(Contents::of_read(&read[..3]), Contents::of_appended(&records));
            let unary = stream.read(from_seq_num(0).with_stop(count(4))).await.unwrap();
            assert_eq!(Contents::of_read(&unary.records), Contents::of_read(&read));
            assert_eq!(bare.check_tail().await.unwrap().seq_num, 4, "a tail needs no key");
        })
        .await;
    }
}

#[tokio::test]
async fn other_keys_and_none_are_refused() {
    for cipher in CIPHERS {
        within(async {
            let s2 = client(config());
            let (basin, _) = basin_with(&s2, BasinConfig::new().with_stream_cipher(cipher)).await;
            let bare = stream_in(&basin, "s").await;
            let stream = bare.clone().with_encryption_key(key(7));
            stream.append(bodies(["a", "b"])).await.unwrap();
            let none = bare.append(bodies(["c"])).await.unwrap_err();
            assert_eq!(append_code(&none), "bad_header");
            let none = bare.read(from_seq_num(0)).await.unwrap_err();
            assert_eq!(read_code(&none), "bad_header");
            let short = bare.clone().with_encryption_key(EncryptionKey::new([7; 31]));
            let short = short.append(bodies(["c"])).await.unwrap_err();
            assert_eq!(append_code(&short), "bad_header");
            let other = bare.clone().with_encryption_key(key(8));
            let failed = other.read(from_seq_num(0)).await.unwrap_err();
            assert_eq!(read_code(&failed), "decryption_failed");

            other.append(bodies(["c"])).await.unwrap();
            let input = from_seq_num(0);
            let mut session = stream.read_session(input, ReadSessionConfig::new()).await.unwrap();
            let mut read = Vec::new();
            let failed = loop {
                match session.next().await.expect("it does not end well") {
                    Ok(batch) => read.extend(batch.records),
                    Err(error) => break error,
                }
            };
            assert_eq!(texts(&read), ["a", "b"]);
            assert_eq!(code(failed.request_error().unwrap()), "decryption_failed");
        })
        .await;
    }
}

#[tokio::test]
async fn commands_are_obeyed_on_encrypted_streams() {
    for cipher in CIPHERS {
        within(async {
            let s2 = client(config());
            let (basin, _) = basin_with(&s2, BasinConfig::new().with_stream_cipher(cipher)).await;
            let stream = stream_in(&basin, "s").await.with_encryption_key(key(7));
            let token: FencingToken = "t".parse().unwrap();
            stream.append(input([CommandRecord::fence(token.clone()).into()])).await.unwrap();
            stream
                .append(bodies(["a"]).with_fencing_token("u".parse().unwrap()))
                .await
                .unwrap_err();
            stream.append(bodies(["a"]).with_fencing_token(token)).await.unwrap();
            assert_eq!(stream.check_tail().await.unwrap().seq_num, 2);
        })
        .await;
    }
}
