//! Request heads that are far too long.

use super::*;

const CONNECTIONS: usize = 64;

pub(super) fn run(field: &Field) -> Result<Made> {
    let mut made = Made { open_max: CONNECTIONS, ..Made::default() };
    let mut long = format!("GET /health HTTP/1.1\r\n{}x-long: ", field.headers).into_bytes();
    long.resize(1_000_000, b'x');
    let mut many = format!("GET /health HTTP/1.1\r\n{}", field.headers).into_bytes();
    while many.len() < 1_000_000 {
        many.extend_from_slice(b"x: y\r\n");
    }
    let heads = [long, many];
    let mut turn = 0;
    while !field.is_over() {
        for _ in 0..CONNECTIONS {
            let Some(mut wire) = reopen(field.address, &mut made) else { continue };
            made.sent_bytes += wire.send_some(&heads[turn % 2]).unwrap_or(0) as u64;
            turn += 1;
            if made.held.len() >= CONNECTIONS {
                drop(made.held.remove(0));
            }
            made.held.push(wire);
        }
    }
    Ok(made)
}
