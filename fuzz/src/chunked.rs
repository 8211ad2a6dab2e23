//! The chunked coding: what follows a head that announces it. However the bytes are cut, the same
//! comes out, and hyper finds the same body and the same request behind it.

use thalweg::http1::Limits;

use crate::connection::{Mode, assert_same, run_cut};
use crate::http1_conn::compare;

const HEAD: &[u8] = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
/// What a smuggler would have read as part of the body, or the body as part of it.
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: h\r\n\r\n";
const CUTS_MAX: usize = 128;

/// The input is the body with its framing, and perhaps more.
pub fn run(data: &[u8]) {
    let input = [HEAD, data, BEHIND].concat();
    let limits = Limits::default();
    let collected = run_cut(&input, &limits, Mode::Collect, CUTS_MAX);
    let streamed = run_cut(&input, &limits, Mode::Stream, CUTS_MAX);
    assert_same(&collected, &streamed);
    compare(&input, &collected);
}
