//! The state machine of one connection.
//!
//! ```text
//!          head complete        collect_body         body complete
//!   Head ----------------> Judged ------------> Collect* ------------> Head, or Over
//!                             |   stream_body                           ^
//!                             +---------------> Stream*  --- End -------+
//! ```
//!
//! `Over` follows a request that closes the connection: what the client sent behind it is not
//! looked at.

use std::mem;
use std::ops::Range;

use super::buffer::RecvBuf;
use super::chunked::{ChunkDecoder, Piece};
use super::head::{BodyLength, Head, HeadRef};
use super::limits::{HEAD_BYTES_CEILING, HEADER_COUNT_CEILING, Limits};
use super::parse::{HeadSearch, is_token_byte, parse_head};
use super::request::Request;
use super::violation::Violation;

/// What the connection has to say next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would be an allocation per request")]
pub enum Event<'a> {
    /// Nothing without more bytes: fill [`Conn::recv_space`].
    NeedInput,
    /// A head is complete: look at [`Conn::head`], then call [`Conn::collect_body`] or
    /// [`Conn::stream_body`]. Repeated until that is done.
    Head,
    /// A request with its whole body.
    Request(Request),
    /// A piece of a streamed body; never empty.
    Data(&'a [u8]),
    /// The end of a streamed body.
    End,
    /// No more requests will come: the client closed between two of them, or the last one asked
    /// to close.
    Closed,
}

/// [`Event`] in numbers, so that deciding and lending are two steps and a request is built where
/// it is returned.
enum Step {
    NeedInput,
    Head,
    Request { request_bytes: usize, body_bytes: usize },
    Data(Range<usize>),
    End,
    Closed,
}

#[derive(Debug)]
enum State {
    Head { search: HeadSearch, empty_lines: u32 },
    Judged,
    CollectKnown { body_bytes: usize },
    CollectChunked { decoder: ChunkDecoder, body_bytes: usize },
    StreamKnown { left: u64 },
    StreamChunked { decoder: ChunkDecoder },
    Over,
}

impl State {
    const HEAD: Self = Self::Head { search: HeadSearch::NEW, empty_lines: 0 };
}

/// One HTTP/1.1 connection, seen from the server, without its socket.
///
/// The turn: call [`next_event`](Self::next_event) until it says [`Event::NeedInput`], fill
/// [`recv_space`](Self::recv_space), tell [`received`](Self::received), begin again. Pipelined
/// requests come out one by one; whoever does not want the next one yet does not ask.
///
/// Memory: the receive buffer and one spare; a buffer given away with a request comes back
/// through [`recycle`](Self::recycle), and then nothing is allocated per request (heads of more
/// than 16 lines excepted).
#[derive(Debug)]
pub struct Conn {
    limits: Limits,
    buf: RecvBuf,
    state: State,
    /// Of the request that `state` is about; empty in `Head` and after `stream_body`.
    head: Head,
    head_bytes: usize,
    keep_alive: bool,
    eof: bool,
    failed: Option<Violation>,
}

impl Conn {
    /// A connection on which nothing has arrived yet. Allocates nothing.
    ///
    /// # Panics
    ///
    /// When `limits` asks for more than [`HEAD_BYTES_CEILING`] or [`HEADER_COUNT_CEILING`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        assert!(limits.head_bytes_max <= HEAD_BYTES_CEILING);
        assert!(limits.header_count_max <= HEADER_COUNT_CEILING);
        Self {
            limits,
            buf: RecvBuf::default(),
            state: State::HEAD,
            head: Head::default(),
            head_bytes: 0,
            keep_alive: true,
            eof: false,
            failed: None,
        }
    }

    /// Where the socket puts the next bytes; never empty. What is in it means nothing.
    pub fn recv_space(&mut self) -> &mut [u8] {
        let ahead = self.ahead_bytes();
        self.buf.room(ahead)
    }

    /// How much memory this will hold, in bytes, when [`recv_space`](Self::recv_space) would take
    /// more: for the whole of a body whose length is known, so that who has that much can go on
    /// until it is there. `None` when it takes no more.
    #[must_use]
    pub fn memory_wanted(&self) -> Option<usize> {
        let growth = self.buf.growth(self.ahead_bytes());
        let whole_bytes = match &self.state {
            State::CollectKnown { body_bytes } => self.head_bytes + body_bytes,
            _ => 0,
        };
        (growth > 0).then(|| (self.memory_bytes() + growth).max(whole_bytes))
    }

    /// Memory that this holds for what is received, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.buf.memory_bytes()
    }

    /// Gives back memory that is kept only to be used again.
    pub fn shrink(&mut self) {
        self.buf.shrink();
    }

    /// How many more bytes are sure to come, as far as is known.
    fn ahead_bytes(&self) -> usize {
        let filled = self.buf.filled().len();
        match &self.state {
            State::CollectKnown { body_bytes } => {
                (self.head_bytes + body_bytes).saturating_sub(filled)
            }
            State::StreamKnown { left } => usize::try_from(*left).unwrap_or(usize::MAX),
            State::CollectChunked { decoder, .. } | State::StreamChunked { decoder } => {
                usize::try_from(decoder.data_left()).unwrap_or(usize::MAX)
            }
            State::Head { .. } | State::Judged | State::Over => 0,
        }
    }

    /// Says that the first `n` bytes of [`recv_space`](Self::recv_space) were received.
    ///
    /// # Panics
    ///
    /// When `n` is more than its length.
    pub fn received(&mut self, n: usize) {
        self.buf.received(n);
    }

    /// Says that nothing more will be received.
    pub fn received_eof(&mut self) {
        self.eof = true;
    }

    /// Takes back a buffer that a request gave away, to be used again; drops it when it is larger
    /// than [`Limits::spare_bytes_max`].
    pub fn recycle(&mut self, buf: Vec<u8>) {
        if buf.capacity() <= self.limits.spare_bytes_max {
            self.buf.recycle(buf);
        }
    }

    /// What was received and not yet handed on. For the protocol sniffer, before the first
    /// [`next_event`](Self::next_event); between two requests, to see whether the next has begun.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.buf.filled()
    }

    /// Gives up the connection for what was received and not yet handed on.
    #[must_use]
    pub fn into_received(self) -> Vec<u8> {
        self.buf.filled().to_vec()
    }

    /// The next thing that the received bytes say.
    ///
    /// # Errors
    ///
    /// A [`Violation`] is final: every later call returns the same one.
    pub fn next_event(&mut self) -> Result<Event<'_>, Violation> {
        Ok(match self.latched(Self::step)? {
            Step::NeedInput => Event::NeedInput,
            Step::Head => Event::Head,
            Step::Request { request_bytes, body_bytes } => {
                Event::Request(self.take_request(request_bytes, body_bytes))
            }
            Step::Data(at) => Event::Data(self.buf.slice(at)),
            Step::End => Event::End,
            Step::Closed => Event::Closed,
        })
    }

    /// The head that [`Event::Head`] announced.
    ///
    /// # Panics
    ///
    /// When the body's treatment was already chosen, or no head is complete.
    #[must_use]
    pub fn head(&self) -> HeadRef<'_> {
        assert!(matches!(self.state, State::Judged), "no head to look at");
        HeadRef::new(&self.head, &self.buf.filled()[..self.head_bytes])
    }

    /// Whether to send [`CONTINUE`](super::CONTINUE) now if the body is wanted: the client waits
    /// for it, and no byte of the body is here. Ask after [`Event::Head`], before choosing.
    #[must_use]
    pub fn awaits_continue(&self) -> bool {
        matches!(self.state, State::Judged)
            && self.head.expects_continue
            && self.buf.filled().len() == self.head_bytes
    }

    /// Wants the body whole: [`Event::Request`] follows.
    ///
    /// # Errors
    ///
    /// [`Violation::BodyTooLarge`] when the declared length exceeds [`Limits::body_bytes_max`];
    /// a chunked body is found out later, as it arrives.
    ///
    /// # Panics
    ///
    /// When no head is complete.
    pub fn collect_body(&mut self) -> Result<(), Violation> {
        assert!(matches!(self.state, State::Judged), "no body to collect");
        self.latched(|conn| {
            let most = conn.limits.body_bytes_max;
            conn.state = match conn.head.body {
                BodyLength::None => State::CollectKnown { body_bytes: 0 },
                BodyLength::Known(length) => match usize::try_from(length) {
                    Ok(body_bytes) if body_bytes <= most => State::CollectKnown { body_bytes },
                    _ => return Err(Violation::BodyTooLarge),
                },
                BodyLength::Chunked => {
                    State::CollectChunked { decoder: ChunkDecoder::new(most as u64), body_bytes: 0 }
                }
            };
            Ok(())
        })
    }

    /// Wants the body in pieces as it arrives: [`Event::Data`] and one [`Event::End`] follow.
    /// Returns the request without body. Whoever wants to skip a body streams and ignores it.
    ///
    /// Cost: the head is copied when body bytes are behind it.
    ///
    /// # Panics
    ///
    /// When no head is complete.
    pub fn stream_body(&mut self) -> Request {
        assert!(matches!(self.state, State::Judged), "no body to stream");
        self.state = match self.head.body {
            BodyLength::None => State::StreamKnown { left: 0 },
            BodyLength::Known(left) => State::StreamKnown { left },
            BodyLength::Chunked => State::StreamChunked { decoder: ChunkDecoder::new(u64::MAX) },
        };
        self.take_request(self.head_bytes, 0)
    }

    /// Runs `f` unless the connection has failed, and remembers if it fails now.
    fn latched<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<T, Violation>,
    ) -> Result<T, Violation> {
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        f(self).inspect_err(|violation| self.failed = Some(*violation))
    }

    fn step(&mut self) -> Result<Step, Violation> {
        match self.state {
            State::Head { .. } => self.step_head(),
            State::Judged => Ok(Step::Head),
            State::CollectKnown { body_bytes } => {
                let request_bytes = self.head_bytes + body_bytes;
                if self.buf.filled().len() < request_bytes {
                    return self.need_input();
                }
                self.next_message();
                Ok(Step::Request { request_bytes, body_bytes })
            }
            State::CollectChunked { .. } => self.step_collect_chunked(),
            State::StreamKnown { left } => self.step_stream_known(left),
            State::StreamChunked { .. } => self.step_stream_chunked(),
            State::Over => Ok(Step::Closed),
        }
    }

    fn step_head(&mut self) -> Result<Step, Violation> {
        let State::Head { search, empty_lines } = &mut self.state else {
            unreachable!("by `step`")
        };
        loop {
            match self.buf.filled() {
                [] if self.eof => return Ok(Step::Closed),
                [] | [b'\r'] => return self.need_input(),
                [b'\r', b'\n', ..] => {
                    self.buf.consume(2);
                    *empty_lines += 1;
                    if *empty_lines > self.limits.empty_lines_max {
                        return Err(Violation::EmptyLines);
                    }
                }
                [b'\r', ..] => return Err(Violation::BareCr),
                [b'\n', ..] => return Err(Violation::BareLf),
                // Refuses other protocols at their first byte, not at the 64 KiB-th.
                [first, ..] if !is_token_byte(*first) => return Err(Violation::RequestLine),
                _ => break,
            }
        }
        let Some(head_bytes) = search.advance(self.buf.filled(), &self.limits)? else {
            return self.need_input();
        };
        parse_head(&mut self.head, &self.buf.filled()[..head_bytes], &self.limits)?;
        self.head_bytes = head_bytes;
        self.keep_alive = self.head.keep_alive;
        self.state = State::Judged;
        Ok(Step::Head)
    }

    fn step_collect_chunked(&mut self) -> Result<Step, Violation> {
        let State::CollectChunked { decoder, body_bytes } = &mut self.state else {
            unreachable!("by `step`")
        };
        let bytes = self.buf.filled_mut();
        let mut read_at = self.head_bytes + *body_bytes;
        loop {
            let write_at = self.head_bytes + *body_bytes;
            match decoder.next(&bytes[read_at..], &self.limits)? {
                Piece::Data(at) => {
                    *body_bytes += at.len();
                    bytes.copy_within(read_at + at.start..read_at + at.end, write_at);
                    read_at += at.end;
                }
                Piece::Starved => {
                    self.buf.truncate(write_at);
                    return self.need_input();
                }
                Piece::End(n) => {
                    let (request_bytes, body_bytes) = (read_at + n, *body_bytes);
                    self.next_message();
                    return Ok(Step::Request { request_bytes, body_bytes });
                }
            }
        }
    }

    fn step_stream_known(&mut self, left: u64) -> Result<Step, Violation> {
        if left == 0 {
            self.next_message();
            return Ok(Step::End);
        }
        let filled = self.buf.filled().len();
        if filled == 0 {
            return self.need_input();
        }
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(filled);
        self.state = State::StreamKnown { left: left - len as u64 };
        Ok(self.hand_out(0..len))
    }

    fn step_stream_chunked(&mut self) -> Result<Step, Violation> {
        let State::StreamChunked { decoder } = &mut self.state else { unreachable!("by `step`") };
        match decoder.next(self.buf.filled(), &self.limits)? {
            Piece::Data(at) => Ok(self.hand_out(at)),
            Piece::Starved => {
                self.buf.consume(self.buf.filled().len());
                self.need_input()
            }
            Piece::End(n) => {
                self.buf.consume(n);
                self.next_message();
                Ok(Step::End)
            }
        }
    }

    /// Consumes up to the end of `at`, and hands out that range as data.
    fn hand_out(&mut self, at: Range<usize>) -> Step {
        let start = self.buf.start();
        self.buf.consume(at.end);
        Step::Data(start + at.start..start + at.end)
    }

    /// More bytes are needed in the middle of a message.
    fn need_input(&self) -> Result<Step, Violation> {
        if self.eof { Err(Violation::Truncated) } else { Ok(Step::NeedInput) }
    }

    /// The message is complete; what comes behind it is the next one.
    fn next_message(&mut self) {
        self.state = if self.keep_alive { State::HEAD } else { State::Over };
    }

    /// Gives away the first `request_bytes`: the head, the body, what is left of chunk framing.
    fn take_request(&mut self, request_bytes: usize, body_bytes: usize) -> Request {
        let taken = self.buf.take_front(request_bytes);
        Request::new(mem::take(&mut self.head), taken, self.head_bytes, body_bytes)
    }
}
