//! The frames of a session: however the input is cut and handed over, the same messages come out,
//! they are what the four bytes in front say, nothing is kept beyond one frame, and what is framed
//! again is read the same.

use bytes::Bytes;
use thalweg::codec::s2s::{self, BODY_BYTES_MAX, Deframer, FRAME_BYTES_MAX, HEAD_BYTES};

/// What came out: messages, and how the input ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    messages: Vec<Vec<u8>>,
    is_refused: bool,
    ends_between: bool,
}

/// The first byte says where input is cut, the others are the input.
pub fn run(data: &[u8]) {
    let Some((choice, input)) = data.split_first() else { return };
    let whole = deframe([input], false);
    assert_eq!(deframe(input.chunks(1), true), whole, "byte by byte: {}", input.escape_ascii());
    let step = 1 + usize::from(*choice);
    assert_eq!(deframe(input.chunks(step), false), whole, "in {step}: {}", input.escape_ascii());
    let (first, second) = input.split_at(step.min(input.len()));
    assert_eq!(deframe([first, second], true), whole, "at {step}: {}", input.escape_ascii());
    by_hand(input, &whole);
    again(&whole.messages);
}

fn deframe<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, by_slice: bool) -> Seen {
    let mut deframer = Deframer::new();
    let mut seen = Seen { messages: Vec::new(), is_refused: false, ends_between: false };
    for piece in pieces {
        if by_slice {
            deframer.push_slice(piece);
        } else {
            deframer.push(Bytes::copy_from_slice(piece));
        }
        loop {
            match deframer.next() {
                Ok(Some(message)) => {
                    assert!(message.body().len() <= BODY_BYTES_MAX);
                    seen.messages.push(message.body().to_vec());
                }
                Ok(None) => break,
                Err(_) => {
                    seen.is_refused = true;
                    return seen;
                }
            }
        }
        assert!(deframer.buffered_bytes() < HEAD_BYTES + FRAME_BYTES_MAX);
    }
    seen.ends_between = deframer.finish().is_ok();
    seen
}

/// Walks through the input by its length fields alone, as the drawing has them.
fn by_hand(input: &[u8], seen: &Seen) {
    let (mut rest, mut index) = (input, 0);
    while let [a, b, c, flag, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let is_sound = (1..=FRAME_BYTES_MAX).contains(&length) && flag & 0x80 == 0;
        if !is_sound || flag & 0x60 == 0x60 {
            assert!(seen.is_refused && seen.messages.len() == index);
            return;
        }
        let Some((body, after)) = after.split_at_checked(length - 1) else { break };
        let Some(message) = seen.messages.get(index) else {
            assert!(seen.is_refused && flag & 0x60 != 0, "only a coded body can be refused");
            return;
        };
        if flag & 0x60 == 0 {
            assert_eq!(body, message);
        }
        (rest, index) = (after, index + 1);
    }
    assert_eq!((seen.messages.len(), seen.is_refused), (index, false));
    assert_eq!(seen.ends_between, rest.is_empty());
}

/// Frames the messages again.
fn again(messages: &[Vec<u8>]) {
    let mut out = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let coding = [None, Some(thalweg::codec::Coding::Zstd), Some(thalweg::codec::Coding::Gzip)];
        let start = s2s::begin(&mut out);
        out.extend_from_slice(message);
        s2s::finish(&mut out, start, coding[index % 3], false).expect("it came in a frame");
    }
    let seen = deframe([&out[..]], false);
    assert!(seen.messages == messages && !seen.is_refused && seen.ends_between);
}
