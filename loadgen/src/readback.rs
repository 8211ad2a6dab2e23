//! Reads streams back page by page and lets the judge compare.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::Exit;
use crate::cli::{Format, TargetArgs, VerifyArgs};
use crate::client::{Client, common_headers};
use crate::journal::{self, Fact};
use crate::judge::{Judge, Verdict};
use crate::record::{IDENTITY_HEADER, Identity};
use crate::setup::tail;

/// Records asked for at a time: the API's limit.
const PAGE_RECORDS: u32 = 1_000;

/// What is to be checked of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) basin: String,
    pub(crate) name: String,
    /// Index of the stream, as its records carry it.
    pub(crate) index: u32,
    pub(crate) format: Format,
    /// Everything from here on was written under `facts`.
    pub(crate) start_seq_num: u64,
    pub(crate) facts: Vec<Fact>,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
struct Record<'a> {
    seq_num: u64,
    #[serde(borrow, default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default)]
    body: Cow<'a, str>,
}

/// The `verify` subcommand.
pub(crate) fn verify_journals(args: &VerifyArgs) -> Result<Exit> {
    let claims = claims(&args.journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verdict = runtime.block_on(verify(&args.target, claims))?;
    Ok(print(&verdict))
}

/// Prints the verdict, faults to standard error.
pub(crate) fn print(verdict: &Verdict) -> Exit {
    for example in &verdict.examples {
        eprintln!("  {example}");
    }
    println!("{}", verdict.line());
    if verdict.is_good() { Exit::Good } else { Exit::Wrong }
}

/// Joins journals: the facts of each stream, and the earliest point from which they cover it.
fn claims(paths: &[PathBuf]) -> Result<Vec<Claim>> {
    let mut claims = BTreeMap::<(String, String), Claim>::new();
    for path in paths {
        let (header, facts) = journal::read(path)?;
        let streams = header.streams.into_iter().zip(header.tails).zip(facts);
        for (index, ((name, start_seq_num), facts)) in (0..).zip(streams) {
            let key = (header.basin.clone(), name.clone());
            let claim = claims.entry(key).or_insert_with(|| Claim {
                basin: header.basin.clone(),
                name,
                index,
                format: header.format,
                start_seq_num,
                facts: Vec::new(),
            });
            if claim.index != index || claim.format != header.format {
                bail!("{}: differs from an earlier journal in form", path.display());
            }
            claim.start_seq_num = claim.start_seq_num.min(start_seq_num);
            claim.facts.extend(facts);
        }
    }
    Ok(claims.into_values().collect())
}

/// Checks every claim against the server.
///
/// Memory: one page, and 34 bytes per append of the stream at hand besides the claims themselves.
pub(crate) async fn verify(target: &TargetArgs, claims: Vec<Claim>) -> Result<Verdict> {
    let mut client = Client::new(target)?;
    let mut verdict = Verdict::default();
    for claim in claims {
        let name = claim.name.clone();
        let one = verify_stream(&mut client, target, claim).await;
        verdict.add(one.with_context(|| format!("verifying stream {name}"))?);
    }
    Ok(verdict)
}

async fn verify_stream(client: &mut Client, target: &TargetArgs, claim: Claim) -> Result<Verdict> {
    let Claim { basin, name, index, format, start_seq_num, facts } = claim;
    let headers = common_headers(target, Some(&basin));
    let end = tail(client, &headers, &name).await?;
    let mut judge = Judge::new(index, start_seq_num, facts).map_err(|id| {
        anyhow::anyhow!("two facts about {id:?}: a run must not be journalled twice")
    })?;
    let headers = format!("{headers}accept: application/json\r\ns2-format: {}\r\n", format.name());
    while judge.next_seq_num() < end {
        let from = judge.next_seq_num();
        let path = format!("/v1/streams/{name}/records?seq_num={from}&count={PAGE_RECORDS}");
        let (status, body) = client.call("GET", &path, &headers, None).await?;
        if status == 416 {
            // The tail promised more: the judge sees the difference.
            break;
        }
        if status != 200 {
            bail!("GET {path}: {status} {}", String::from_utf8_lossy(&body));
        }
        let page: Page<'_> = serde_json::from_slice(&body).context("page of records")?;
        if page.records.is_empty() {
            break;
        }
        for record in &page.records {
            let body = decode(format, &record.body)?;
            judge.record(record.seq_num, identity(format, record, &body), &body);
        }
        if judge.next_seq_num() <= from {
            bail!("GET {path}: the page ends where it should begin");
        }
    }
    Ok(judge.finish(end))
}

fn identity(format: Format, record: &Record<'_>, body: &[u8]) -> Option<Identity> {
    for (name, value) in &record.headers {
        if *decode(format, name).ok()? == *IDENTITY_HEADER.as_bytes() {
            return Identity::decode(&decode(format, value).ok()?);
        }
    }
    Identity::decode(body)
}

fn decode<'a>(format: Format, text: &'a str) -> Result<Cow<'a, [u8]>> {
    match format {
        Format::Raw => Ok(Cow::Borrowed(text.as_bytes())),
        Format::Base64 => Ok(Cow::Owned(STANDARD.decode(text).context("base64 of a record")?)),
    }
}
