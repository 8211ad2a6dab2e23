//! How many frames a peer may send that bring nothing forward.
//!
//! A PING, an empty SETTINGS, a window update, a reset or an empty DATA frame costs its sender a
//! few bytes and us as much work as a small append. Each is paid from an allowance:
//!
//! * it grows with time, up to a bound, so that a peer may ping and cancel now and then;
//! * it grows with each head and each piece of a body that we send: whoever is answered a lot also
//!   measures the line a lot;
//! * window updates have an allowance of their own, which grows with the bytes of bodies that we
//!   send, whatever pieces they go in: who reads a lot gives windows back a lot, some for each few
//!   KiB. It is kept for as long as a peer may wait until it reads what it was sent;
//! * it grows with the bytes of bodies that the peer sends. A body in pieces of a few bytes costs
//!   a little of it, since each piece is a frame.
//!
//! A peer that has used it up is to be sent away. One that waits for answers never comes near:
//! it would have to send a thousand such frames a second for each answer that it gets.

/// Bytes of a frame's head (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;

/// What a frame costs that brings nothing forward; all else is counted in sixteenths of it.
const FRAME_COST: i64 = 16;
/// What a frame costs that carries a piece of a body.
const PIECE_COST: i64 = 1;
/// Bytes of a body that earn as much as `PIECE_COST`.
const PIECE_BYTES: usize = 16;
/// What a head or a piece of a body earns that we send: an update of both windows, a PING, and one
/// more.
const SENT_WORTH: i64 = 4 * FRAME_COST;
/// Bytes of bodies sent for which a peer may give windows back once more: twice as often as a
/// client that does so for the connection and for the stream after each 4 KiB that it reads.
const UPDATE_BYTES: i64 = 1024;
/// Most window updates that are ever left of those: for the windows, of 4 MiB each, of as many
/// streams as a connection may have, read all at once.
const UPDATES_MAX: i64 = 256 * 4 * 1024 * 1024 / UPDATE_BYTES;
/// Most that is ever left: the frames of one burst.
const ALLOWANCE_MAX: i64 = 4_000 * FRAME_COST;
/// What a second brings.
const PER_SECOND: u64 = 2_000 * FRAME_COST as u64;

/// Finds the frames in one direction of a connection, whatever pieces its bytes come in.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Bytes until the next head.
    skip_bytes: usize,
}

/// What a frame's head says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    payload_bytes: usize,
}

impl Frames {
    /// Calls `each` for every frame whose head ends in `bytes`, which follow those of before.
    fn scan(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip_bytes.min(bytes.len());
            self.skip_bytes -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == HEAD_BYTES {
                let [high, middle, low, kind, ..] = self.head;
                let payload_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
                (self.head_bytes, self.skip_bytes) = (0, payload_bytes);
                each(Frame { kind, payload_bytes });
            }
        }
    }
}

/// One connection's allowance, and what it was looked at for.
#[derive(Debug)]
pub(super) struct Pace {
    received: Frames,
    sent: Frames,
    left: i64,
    /// What is left for window updates alone, in bytes of bodies sent.
    updates_left: i64,
    /// Up to when time was counted, in microseconds.
    counted_us: u64,
}

impl Pace {
    /// A full allowance, for a connection whose first bytes are the preface.
    pub(super) fn new(preface_bytes: usize, now_us: u64) -> Self {
        let received = Frames { skip_bytes: preface_bytes, ..Frames::default() };
        let sent = Frames::default();
        Self { received, sent, left: ALLOWANCE_MAX, updates_left: 0, counted_us: now_us }
    }

    /// Counts what was received; returns how many frames that were.
    pub(super) fn received(&mut self, bytes: &[u8]) -> usize {
        let (mut frames, mut change) = (0, 0);
        let updates_left = &mut self.updates_left;
        self.received.scan(bytes, |frame| {
            frames += 1;
            change += match (frame.kind, frame.payload_bytes) {
                (DATA, 1..) => (frame.payload_bytes / PIECE_BYTES) as i64 - PIECE_COST,
                // A request: it is paid by its answer, or costs the reset that takes its place.
                (HEADERS, _) => 0,
                (WINDOW_UPDATE, _) if *updates_left >= UPDATE_BYTES => {
                    *updates_left -= UPDATE_BYTES;
                    0
                }
                _ => -FRAME_COST,
            };
        });
        self.earn(change);
        frames
    }

    /// Counts what was sent.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let (mut change, mut body_bytes) = (0, 0);
        self.sent.scan(bytes, |frame| match (frame.kind, frame.payload_bytes) {
            (HEADERS, _) => change += SENT_WORTH,
            (DATA, 1..) => {
                change += SENT_WORTH;
                body_bytes += frame.payload_bytes as i64;
            }
            _ => {}
        });
        self.earn(change);
        self.updates_left = (self.updates_left + body_bytes).min(UPDATES_MAX * UPDATE_BYTES);
    }

    fn earn(&mut self, change: i64) {
        self.left = (self.left + change).min(ALLOWANCE_MAX);
    }

    /// Whether the peer has sent more than it may.
    ///
    /// * Cost: the clock is looked at only when nothing is left but what time has brought.
    pub(super) fn is_exceeded(&mut self, now_us: impl FnOnce() -> u64) -> bool {
        if self.left >= 0 {
            return false;
        }
        let now_us = now_us();
        // More than a minute is as good as a minute: more than the most.
        let passed_us = now_us.saturating_sub(self.counted_us).min(60_000_000);
        self.counted_us = now_us;
        self.earn((passed_us * PER_SECOND / 1_000_000).cast_signed());
        self.left < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, payload_bytes: usize) -> Vec<u8> {
        let mut out = u32::try_from(payload_bytes).unwrap().to_be_bytes()[1..].to_vec();
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 1]);
        out.resize(out.len() + payload_bytes, 0xAB);
        out
    }

    fn after_preface() -> Pace {
        let mut pace = Pace::new(4, 0);
        assert_eq!(pace.received(b"PRI*"), 0);
        pace
    }

    /// How many of these frames in a row are too many, `us` apart.
    fn too_many(pace: &mut Pace, bytes: &[u8], us: u64, frames_max: u64) -> Option<u64> {
        (0..frames_max).find(|number| {
            pace.received(bytes);
            pace.is_exceeded(|| number * us)
        })
    }

    #[test]
    fn frames_are_found_in_whatever_pieces_they_come() {
        let sizes = [0, 1, 8, 300, 70_000, 0, 0, 16];
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| frame(PING, *size)).collect();
        for piece_bytes in [1, 2, 7, 9, 10, 64, 4096, bytes.len()] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(piece_bytes) {
                frames.scan(piece, |frame| found.push((frame.kind, frame.payload_bytes)));
            }
            assert_eq!(found, sizes.map(|size| (PING, size)), "pieces of {piece_bytes}");
        }
    }

    #[test]
    fn a_burst_is_allowed_and_a_flood_is_not() {
        for (kind, payload_bytes) in [(PING, 8), (4, 0), (8, 4), (DATA, 0), (3, 4), (2, 5), (99, 1)]
        {
            let bytes = frame(kind, payload_bytes);
            assert_eq!(too_many(&mut after_preface(), &bytes, 0, 5_000), Some(4_000));
            let steady = too_many(&mut after_preface(), &bytes, 500, 100_000);
            assert_eq!(steady, None, "2,000 a second of kind {kind}");
            let flood = too_many(&mut after_preface(), &bytes, 100, 100_000);
            assert!(flood.is_some_and(|n| (4_000..6_000).contains(&n)), "{kind}: {flood:?}");
        }
    }

    #[test]
    fn bodies_pay_for_themselves_unless_their_pieces_are_tiny() {
        assert_eq!(too_many(&mut after_preface(), &frame(DATA, 16), 0, 1_000_000), None);
        let tiny = too_many(&mut after_preface(), &frame(DATA, 1), 0, 1_000_000);
        assert_eq!(tiny, Some(64_000), "a body byte by byte");
        assert_eq!(too_many(&mut after_preface(), &frame(DATA, 1), 32, 1_000_000), None);
    }

    #[test]
    fn who_takes_what_we_send_may_give_back_windows_for_all_of_it() {
        let mut pace = after_preface();
        let taken = [frame(8, 4), frame(8, 4), frame(PING, 8)].concat();
        for number in 0..100_000 {
            pace.sent(&frame(DATA, 30));
            assert_eq!(pace.received(&taken), 3);
            assert!(!pace.is_exceeded(|| 0), "after {number}");
        }
    }

    #[test]
    fn who_reads_much_may_give_windows_back_in_small_pieces() {
        const FRAME_BYTES: usize = 256 * 1024;
        const READ_BYTES: usize = 4 * 1024;
        let (sent, both) = (frame(DATA, FRAME_BYTES), frame(WINDOW_UPDATE, 4).repeat(2));
        let mut pace = after_preface();
        for number in 0..64 * 4 {
            pace.sent(&sent);
            for _ in 0..FRAME_BYTES / READ_BYTES {
                assert_eq!(pace.received(&both), 2);
                assert!(!pace.is_exceeded(|| 0), "after {number} frames");
            }
        }
        // Some streams stop, and are read all at once.
        let mut pace = after_preface();
        (0..64 * 4).for_each(|_| pace.sent(&sent));
        let updates = 64 * 4 * FRAME_BYTES / READ_BYTES;
        assert_eq!(too_many(&mut pace, &both, 0, updates as u64), None, "64 MiB at once");
    }

    #[test]
    fn what_was_read_pays_for_window_updates_alone_and_not_for_ever() {
        let sent = frame(DATA, 1024 * 1024);
        let update = frame(WINDOW_UPDATE, 4);
        for (sent_mib, updates) in [(1, 1024), (1024, UPDATES_MAX), (2048, UPDATES_MAX)] {
            let mut pace = after_preface();
            (0..sent_mib).for_each(|_| pace.sent(&sent));
            let flood = too_many(&mut pace, &update, 0, 2_000_000);
            assert_eq!(flood, Some(4_000 + updates as u64), "after {sent_mib} MiB");
            let mut pace = after_preface();
            (0..sent_mib).for_each(|_| pace.sent(&sent));
            assert_eq!(too_many(&mut pace, &frame(PING, 8), 0, 10_000), Some(4_000));
        }
    }

    #[test]
    fn answers_to_pings_and_settings_earn_nothing() {
        let mut pace = after_preface();
        let answered = (0..5_000).find(|_| {
            pace.sent(&frame(PING, 8));
            pace.sent(&frame(4, 0));
            pace.received(&frame(PING, 8));
            pace.is_exceeded(|| 0)
        });
        assert_eq!(answered, Some(4_000));
    }
}
