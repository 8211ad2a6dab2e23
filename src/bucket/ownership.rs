//! Who owns a shard: what the bucket says, and taking it over.
//!
//! A claim is the next object of the shard's log. Whoever owned the shard before would give its
//! next piece that number, fails, and reads whose it is. The steps:
//!
//! 1. *Look*: the newest base, and from its floor on the newest object of the log (`survey`).
//! 2. *Claim* the number after it. When that is taken, look again.
//! 3. *Look whether the claim is in the log*: had somebody moved the floor beyond it meanwhile, the
//!    number was free only because what had it is removed. Then it counts for nothing: look again.
//! 4. *Make the next base*, a copy of the newest in the new owner's name. The old one's next base
//!    would have that number: it fails, and removes nothing any more.
//!
//! Claims are never removed: one that was passed over long ago still keeps its number from an owner
//! that slept meanwhile.

use bytes::Bytes;

use super::format::{Author, Base, Body, Head, Piece, Place, base_name, decode, log_name};
use super::store::{Created, Store};
use super::{Error, Result};

/// What is wrong with an object that is not there.
const GONE: &str = "it is gone";
/// How often a claim is tried while others are quicker.
const CLAIMS_MAX: u32 = 100;

/// What the bucket says of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// The newest base and its ordinal.
    pub(super) base: Option<(u64, Base)>,
    /// Number of the newest object of the log; 0 when there is none.
    pub(super) newest: u64,
    /// The newest piece that is needed, if there is one, and its number.
    pub(super) piece: Option<(u64, Piece)>,
    /// Claims that no base has.
    pub(super) fresh_claims: Vec<u64>,
    /// The newest owner's term; 0 when there is none.
    pub(super) term: u64,
    /// Who that is.
    pub(super) node: String,
}

/// A shard that is owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) author: Author,
    /// Number of the next object of the log.
    pub(super) next_number: u64,
    /// The newest base, which is the owner's, and its ordinal.
    pub(super) ordinal: u64,
    pub(super) base: Base,
    /// Where the next piece begins; `None` when there is nothing yet.
    pub(super) end: Option<Place>,
    /// The newest piece, and its number.
    pub(super) piece: Option<(u64, Piece)>,
    /// Epoch of the first segment of which there are only pieces; `None` when there is nothing.
    pub(super) first_unstored: Option<u64>,
}

/// Reads an object of a shard's log; `None` when there is none.
pub(super) async fn read_log(
    store: &Store,
    (directory_id, shard): (u128, u16),
    number: u64,
) -> Result<Option<(Head, Bytes)>> {
    let name = log_name(shard, number);
    let Some(object) = store.get(&name).await? else { return Ok(None) };
    let read = decode(&object, (directory_id, shard, number));
    read.map(Some).map_err(|reason| Error::Damaged { name, reason: reason.to_owned() })
}

/// The newest base from `from` on, as it was written.
pub(super) async fn newest_base(
    store: &Store,
    (directory_id, shard): (u128, u16),
    from: u64,
) -> Result<Option<(u64, Head, Base)>> {
    let name = |ordinal| base_name(shard, ordinal);
    let Some(ordinal) = store.newest(from.max(1), name).await? else { return Ok(None) };
    let name = name(ordinal);
    let damaged = |reason: &str| Error::Damaged { name: name.clone(), reason: reason.to_owned() };
    let object = store.get(&name).await?.ok_or_else(|| damaged("it is gone"))?;
    let (head, _) = decode(&object, (directory_id, shard, ordinal)).map_err(damaged)?;
    let Body::Base(base) = head.body.clone() else { return Err(damaged("it is no base")) };
    Ok(Some((ordinal, head, base)))
}

/// What the bucket says of a shard.
///
/// * Errors: [`Error::Damaged`], also when an object is gone that must be there. Owners may remove
///   objects meanwhile: they have made another base then, and all is looked at again.
pub(super) async fn survey(store: &Store, facts: (u128, u16)) -> Result<Standing> {
    let ordinal = || store.end_of_run(1, |ordinal| base_name(facts.1, ordinal));
    let mut before = ordinal().await?;
    for _ in 0..CLAIMS_MAX {
        let surveyed = try_survey(store, facts).await;
        let Err(Error::Damaged { name, reason }) = &surveyed else { return surveyed };
        let after = ordinal().await?;
        if after == before || !reason.starts_with(GONE) {
            return surveyed;
        }
        tracing::debug!(object = name, "removed meanwhile: looking again");
        before = after;
    }
    try_survey(store, facts).await
}

async fn try_survey(store: &Store, (id, shard): (u128, u16)) -> Result<Standing> {
    let base = newest_base(store, (id, shard), 1).await?;
    let (mut term, mut node) =
        base.as_ref().map_or((0, String::new()), |(_, head, _)| (head.term, head.node.clone()));
    let base = base.map(|(ordinal, _, base)| (ordinal, base));
    let floor = base.as_ref().map_or(1, |(_, base)| base.floor);
    let newest = store.newest(floor, |number| log_name(shard, number)).await?;
    let mut standing = Standing {
        base,
        newest: newest.unwrap_or(floor - 1),
        piece: None,
        fresh_claims: Vec::new(),
        term: 0,
        node: String::new(),
    };
    // Claims, and then the newest piece: there is one claim for each start of an owner.
    let known = standing.base.as_ref().map(|(_, base)| base.claims.clone()).unwrap_or_default();
    for number in (floor..=standing.newest).rev() {
        // A base that has a claim is of that owner or a later one.
        if known.contains(&number) {
            continue;
        }
        let Some((head, _)) = read_log(store, (id, shard), number).await? else {
            let name = log_name(shard, number);
            return Err(Error::Damaged { name, reason: GONE.to_owned() });
        };
        if head.term > term {
            (term, node) = (head.term, head.node);
        }
        match head.body {
            Body::Claim => {
                standing.fresh_claims.push(number);
            }
            Body::Piece(piece) => {
                standing.piece = Some((number, piece));
                break;
            }
            Body::Base(_) => {}
        }
    }
    standing.fresh_claims.reverse();
    (standing.term, standing.node) = (term, node);
    Ok(standing)
}

/// Takes a shard over for a node, if `may` allows it of what the bucket says.
///
/// * Errors: whatever `may` says; [`Error::Refused`] when others were quicker again and again.
pub(super) async fn take_over(
    store: &Store,
    (id, shard): (u128, u16),
    node: &str,
    wall_us: impl Fn() -> u64,
    may: impl Fn(&Standing) -> Result<()>,
) -> Result<Owned> {
    for _ in 0..CLAIMS_MAX {
        let standing = survey(store, (id, shard)).await?;
        may(&standing)?;
        let number = standing.newest + 1;
        let term = standing.term + 1;
        let author = Author { directory_id: id, shard, term, node: node.to_owned() };
        let claim = author.encode(number, wall_us(), Body::Claim, &[]);
        if store.create(&log_name(shard, number), &[claim]).await? != Created::Made {
            continue;
        }
        let made = (author, number);
        if let Some(owned) = claim_base(store, (id, shard), &standing, made, &wall_us).await? {
            tracing::info!(shard, term, number, "the bucket's log of the shard is ours");
            return Ok(owned);
        }
    }
    Err(Error::Refused(format!("shard {shard}: others took it over again and again; try later")))
}

/// Makes the base of whoever made the claim `number`; `None` when that claim counts for nothing.
async fn claim_base(
    store: &Store,
    (id, shard): (u128, u16),
    standing: &Standing,
    (author, number): (Author, u64),
    wall_us: &impl Fn() -> u64,
) -> Result<Option<Owned>> {
    let mut from = standing.base.as_ref().map_or(1, |(ordinal, _)| *ordinal);
    loop {
        let newest = newest_base(store, (id, shard), from).await?;
        let (ordinal, mut base) = match newest {
            Some((_, head, base)) if base.floor > number || head.term >= author.term => {
                return Ok(None);
            }
            Some((ordinal, _, base)) => (ordinal + 1, base),
            None => (1, Base { floor: 1, ..Base::default() }),
        };
        let fresh = standing.fresh_claims.iter().chain([&number]);
        let unknown: Vec<u64> = fresh.filter(|n| !base.claims.contains(n)).copied().collect();
        base.claims.extend(unknown);
        base.claims.sort_unstable();
        let body = Body::Base(base.clone());
        let object = author.encode(ordinal, wall_us(), body, &[]);
        if store.create(&base_name(shard, ordinal), &[object]).await? == Created::Made {
            // The owner before may have shipped its last pieces, and moved its base, after the
            // first look and before the claim: no more now.
            let piece = standing.piece.clone().filter(|(number, _)| *number >= base.floor);
            let end = piece.as_ref().map(|(_, piece)| Place::behind(piece)).or(base.end);
            let first_unstored = match base.end {
                Some(end) => Some(end.segment),
                None => first_piece_epoch(store, (id, shard), base.floor..number).await?,
            };
            let next_number = number + 1;
            let owned = Owned { author, next_number, ordinal, base, end, piece, first_unstored };
            return Ok(Some(owned));
        }
        from = ordinal;
    }
}

/// Epoch of the segment that the first of these pieces is of.
async fn first_piece_epoch(
    store: &Store,
    facts: (u128, u16),
    numbers: std::ops::Range<u64>,
) -> Result<Option<u64>> {
    // Behind a few claims.
    for number in numbers {
        match read_log(store, facts, number).await? {
            Some((Head { body: Body::Piece(piece), .. }, _)) => return Ok(Some(piece.segment)),
            _ => continue,
        }
    }
    Ok(None)
}

/// Why an object that was to be created is there: somebody else's claim, or what an earlier life
/// of ours left.
pub(super) async fn lost_to(store: &Store, author: &Author) -> Error {
    let shard = author.shard;
    match survey(store, (author.directory_id, shard)).await {
        Ok(Standing { term, node, .. }) => Error::Lost { shard, node, term },
        Err(error) => error,
    }
}
