//! Servers of other kinds, loaded as those of our own protocol are, for comparison: the same
//! writers, clock and histogram; only the bytes of an append and of its answer differ.
//!
//! * Redis Streams: an append is an `XADD` for each of its records, sent in one write; it is
//!   acknowledged when all of them are answered. A stream is a key.
//! * The Durable Streams protocol: an append is a `POST` of its bodies one after the other. Such a
//!   stream is one sequence of bytes: it keeps no boundary between records, so a reader here cuts
//!   it by the length that all records of a run have.
//!
//! Neither answers with our kind of sequence number: records are numbered here as they come, which
//! needs a stream that was empty before the run. Nothing of such a run can be verified afterwards.

pub(crate) mod follow;
pub(crate) mod octets;
pub(crate) mod resp;
pub(crate) mod scan;

use anyhow::{Context, Result, ensure};

use crate::cli::{AppendArgs, Protocol};
use crate::client::common_headers;
use crate::connection::Connection;

/// Makes the streams `names`. With `must_be_new` none of them may be there already.
pub(crate) async fn prepare(args: &AppendArgs, names: &[String], must_be_new: bool) -> Result<()> {
    let place = args.target.place()?;
    let limit = args.target.request_timeout;
    let mut connection = Connection::open_patiently(&place, args.target.connect_retry)
        .await
        .with_context(|| format!("cannot connect to {}", args.target.url.authority))?;
    let headers = common_headers(&args.target, None);
    for name in names {
        let is_new = if args.protocol == Protocol::Redis {
            // The first record makes the key.
            let request = resp::command(&[b"EXISTS", name.as_bytes()]);
            let parse = |bytes: &mut Vec<u8>| resp::answer(bytes, 1);
            let answer = connection.exchange_by(&request, limit, parse).await?;
            ensure!(answer.status == 200, "looking for {name} failed");
            connection.body(&answer) == b":0\r\n"
        } else {
            let request = octets::create(name, &headers);
            let status = connection.exchange(request.as_bytes(), limit).await?.status;
            ensure!(matches!(status, 200 | 201), "creating {name}: status {status}");
            status == 201
        };
        ensure!(is_new || !must_be_new, "stream {name} is there already");
    }
    Ok(())
}
