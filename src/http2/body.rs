//! Bodies: received whole, or sent as fast as the peer's windows allow.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Error, Reason, RecvStream, SendStream};

/// A body that was received whole.
#[derive(Debug)]
pub enum Collected {
    /// It came in one piece, which is part of the connection's receive buffer: nothing was copied.
    Piece(Bytes),
    /// It was put together.
    Buf(Vec<u8>),
    /// It is longer than allowed; the rest was not received.
    TooLarge,
}

/// Receives a body of at most `limit_bytes`; `declared_bytes` is what the head says, if it does.
///
/// * Errors: the connection or the stream is gone.
pub async fn collect(
    body: &mut RecvStream,
    declared_bytes: Option<u64>,
    limit_bytes: usize,
) -> Result<Collected, Error> {
    if declared_bytes.is_some_and(|bytes| bytes > limit_bytes as u64) {
        return Ok(Collected::TooLarge);
    }
    let Some(first) = next_piece(body).await? else { return Ok(Collected::Buf(Vec::new())) };
    if body.is_end_stream() {
        return Ok(Collected::Piece(first));
    }
    let mut buf = first.to_vec();
    while let Some(piece) = next_piece(body).await? {
        if buf.len() + piece.len() > limit_bytes {
            return Ok(Collected::TooLarge);
        }
        buf.extend_from_slice(&piece);
    }
    Ok(Collected::Buf(buf))
}

/// The next piece of a body, given back to the peer's windows at once: the caller holds it now.
async fn next_piece(body: &mut RecvStream) -> Result<Option<Bytes>, Error> {
    let Some(piece) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

/// Sends `data`, waiting for the peer's windows; `end` ends the stream with its last byte.
///
/// * Errors: the stream is gone.
pub async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Result<(), Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let mut room = stream.capacity();
        while room == 0 {
            let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
            room = granted.ok_or_else(|| Error::from(Reason::CANCEL))??;
        }
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(piece, last)?;
        if last {
            return Ok(());
        }
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}
