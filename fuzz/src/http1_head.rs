//! Heads of requests: however they are cut, the same comes out, and streamed and collected bodies
//! are the same bodies.

use thalweg::http1::Limits;

use crate::connection::{Mode, assert_same, run_cut};

/// Cuts tried of each input: all, up to this length.
const CUTS_MAX: usize = 512;

/// Bounds that small inputs can reach.
fn tight() -> Limits {
    Limits {
        head_bytes_max: 192,
        target_bytes_max: 48,
        header_count_max: 6,
        empty_lines_max: 2,
        body_bytes_max: 32,
        chunk_line_bytes_max: 16,
        chunk_extension_bytes_max: 24,
        trailer_bytes_max: 32,
        spare_bytes_max: 8192,
    }
}

/// The first byte chooses the bounds, the others are the input.
pub fn run(data: &[u8]) {
    let Some((choice, input)) = data.split_first() else { return };
    let limits = if choice % 2 == 0 { Limits::default() } else { tight() };
    let collected = run_cut(input, &limits, Mode::Collect, CUTS_MAX);
    let streamed = run_cut(input, &limits, Mode::Stream, CUTS_MAX);
    assert_same(&collected, &streamed);
}
