//! Creates the basin and the streams, and notes where each stream ends before the load.

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::json;

use crate::cli::AppendArgs;
use crate::client::{Client, common_headers};
use crate::peers;

/// Connections that make streams at a time.
const LANES_MAX: u32 = 64;

/// The streams of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams {
    /// Stream names, by index.
    pub(crate) names: Vec<String>,
    /// Next sequence number of each stream before the load; empty when nothing is tracked.
    pub(crate) tails: Vec<u64>,
}

/// Name of stream `index` of a run with this seed; unreserved characters only.
pub(crate) fn stream_name(seed: u64, index: u32) -> String {
    format!("loadgen-{seed}-{index}")
}

/// Makes sure that basin and streams exist with the storage class asked for.
/// `with_tails` asks where they end, too.
pub(crate) async fn prepare(args: &AppendArgs, with_tails: bool) -> Result<Streams> {
    if args.protocol.is_foreign() {
        let names: Vec<_> = (0..args.streams).map(|index| stream_name(args.seed, index)).collect();
        peers::prepare(args, &names, with_tails).await?;
        return Ok(Streams { tails: vec![0; names.len()], names });
    }
    let mut client = Client::new(&args.target)?;
    let body = json!({ "basin": args.basin }).to_string();
    let account = common_headers(&args.target, None);
    create(&mut client, "/v1/basins", &account, &body).await.context("creating the basin")?;

    // Several at a time: a server that shares a sync between creations shows it.
    let lanes = args.streams.min(LANES_MAX);
    let made = (0..lanes).map(|lane| prepare_lane(args, with_tails, lane, lanes));
    let mut made: Vec<_> = try_join_all(made).await?.into_iter().flatten().collect();
    made.sort_unstable_by_key(|(index, _)| *index);
    let names = made.iter().map(|(index, _)| stream_name(args.seed, *index)).collect();
    Ok(Streams { names, tails: made.into_iter().filter_map(|(_, tail)| tail).collect() })
}

/// Every `lanes`-th stream from `lane` on, one after the other: index and, if asked for, tail.
async fn prepare_lane(
    args: &AppendArgs,
    with_tails: bool,
    lane: u32,
    lanes: u32,
) -> Result<Vec<(u32, Option<u64>)>> {
    let mut client = Client::new(&args.target)?;
    let headers = common_headers(&args.target, Some(&args.basin));
    let mut made = Vec::new();
    for index in (lane..args.streams).step_by(lanes as usize) {
        let name = stream_name(args.seed, index);
        let config = json!({ "storage_class": args.storage_class.name() });
        let body = json!({ "stream": name, "config": config }).to_string();
        let is_new = create(&mut client, "/v1/streams", &headers, &body)
            .await
            .with_context(|| format!("creating stream {name}"))?;
        if !is_new {
            check_class(&mut client, &headers, &name, args).await?;
        }
        let end = if with_tails { Some(tail(&mut client, &headers, &name).await?) } else { None };
        made.push((index, end));
    }
    Ok(made)
}

/// True when the resource is new, false when it was there.
async fn create(client: &mut Client, path: &str, headers: &str, body: &str) -> Result<bool> {
    let (status, answer) = client.call("POST", path, headers, Some(body)).await?;
    match status {
        200 | 201 => Ok(true),
        409 if error_code(&answer) == "resource_already_exists" => Ok(false),
        _ => bail!("POST {path}: {status} {}", String::from_utf8_lossy(&answer)),
    }
}

/// Figures of one class must not be sold as those of another: an existing stream has to match.
async fn check_class(
    client: &mut Client,
    headers: &str,
    name: &str,
    args: &AppendArgs,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Config {
        storage_class: Option<String>,
    }
    let body = client.get(&format!("/v1/streams/{name}"), headers).await?;
    let config: Config = serde_json::from_slice(&body).context("stream config")?;
    let wanted = args.storage_class.name();
    match config.storage_class.as_deref() {
        Some(class) if class != wanted => bail!(
            "stream {name} exists with storage class {class}, not {wanted}: choose another --seed or --basin"
        ),
        _ => Ok(()),
    }
}

/// Next sequence number of a stream.
pub(crate) async fn tail(client: &mut Client, headers: &str, name: &str) -> Result<u64> {
    #[derive(Deserialize)]
    struct Position {
        seq_num: u64,
    }
    #[derive(Deserialize)]
    struct Tail {
        tail: Position,
    }
    let body = client.get(&format!("/v1/streams/{name}/records/tail"), headers).await?;
    let tail: Tail = serde_json::from_slice(&body).context("tail")?;
    Ok(tail.tail.seq_num)
}

/// The `code` of an error body; condition failures have none and are named by their member.
pub(crate) fn error_code(body: &[u8]) -> String {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(body) else {
        return "without JSON body".to_owned();
    };
    match members.get("code") {
        Some(serde_json::Value::String(code)) => code.clone(),
        _ => members.keys().next().cloned().unwrap_or_else(|| "without code".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_are_named_by_code_or_first_member() {
        for (body, code) in [
            (r#"{"code":"rate_limited","message":"x"}"#, "rate_limited"),
            (r#"{"seq_num_mismatch":3}"#, "seq_num_mismatch"),
            ("{}", "without code"),
            ("<html>", "without JSON body"),
            ("", "without JSON body"),
        ] {
            assert_eq!(error_code(body.as_bytes()), code);
        }
    }
}
