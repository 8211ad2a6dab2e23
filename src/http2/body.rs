//! Bodies: received piece by piece, and sent as fast as the peer's windows allow.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{Error, Reason, RecvStream, SendStream};

/// The next piece of a body, given back to the peer's windows at once: the caller holds it now.
/// `None` at its end.
///
/// * Errors: the connection or the stream is gone.
pub async fn next_piece(body: &mut RecvStream) -> Result<Option<Bytes>, Error> {
    let Some(piece) = body.data().await.transpose()? else { return Ok(None) };
    body.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

/// Sends `data`, waiting for the peer's windows; `end` ends the stream with its last byte.
/// `progress` is called whenever the windows let something through.
///
/// * Errors: the stream is gone.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    end: bool,
    mut progress: impl FnMut(),
) -> Result<(), Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let mut room = stream.capacity();
        while room == 0 {
            let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
            room = granted.ok_or_else(|| Error::from(Reason::CANCEL))??;
        }
        progress();
        let piece = data.split_to(room.min(data.len()));
        let last = end && data.is_empty();
        stream.send_data(piece, last)?;
        if last {
            return Ok(());
        }
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}
