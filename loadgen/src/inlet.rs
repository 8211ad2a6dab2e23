//! Where a reader's records come from: a read session, or a server of another kind.

use prost::Message;

use crate::cli::HttpVersion;
use crate::connection::Failure;
use crate::context::{NotOpened, Plan};
use crate::duplex::{self, Duplex};
use crate::http2::Live;
use crate::outcome::{Outcome, judge_error};
use crate::peers::follow::Follow;
use crate::proto::ReadBatch;
use crate::s2s::Frame;

/// An open way in, on a connection of its own.
pub(crate) enum Inlet {
    Session(Box<Duplex>),
    Foreign(Follow),
}

impl Inlet {
    /// Opens one that reads `stream` from `seq_num` on.
    pub(crate) async fn open(plan: &Plan, stream: u32, seq_num: u64) -> Result<Self, NotOpened> {
        let limit = plan.args.target.request_timeout;
        if plan.args.protocol.is_foreign() {
            return Follow::open(plan, stream, seq_num).await.map(Self::Foreign);
        }
        let duplex = match plan.args.http {
            HttpVersion::One => {
                let head = plan.routes.read_head(stream, seq_num);
                duplex::open_one(&plan.place, &head, limit).await?
            }
            HttpVersion::Two => {
                let live = Live::open(&plan.place).await?;
                duplex::open_two(&live, plan.routes.read(stream, seq_num), true, limit).await?
            }
        };
        Ok(Self::Session(Box::new(duplex)))
    }

    /// Takes in more bytes; false at the end. Nothing is lost when it is cancelled.
    pub(crate) async fn receive(&mut self) -> Result<bool, Failure> {
        match self {
            Self::Session(duplex) => duplex.1.receive().await,
            Self::Foreign(follow) => follow.receive().await,
        }
    }

    /// The next batch among the bytes received; `None` when it needs more of them.
    ///
    /// Errors: how it ends here.
    pub(crate) fn next(&mut self) -> Result<Option<ReadBatch>, String> {
        let incoming = match self {
            Self::Session(duplex) => &mut duplex.1,
            Self::Foreign(follow) => return follow.next(),
        };
        match incoming.next() {
            Ok(None) => Ok(None),
            Ok(Some(Frame::Message(message))) => {
                let batch = ReadBatch::decode(message);
                batch.map(Some).map_err(|_| "message without a batch".to_owned())
            }
            Ok(Some(Frame::Terminal { status, body })) => {
                let (Outcome::Refused(kind) | Outcome::Doubtful(kind)) =
                    judge_error(status, &body, "terminal ")
                else {
                    unreachable!("an error acknowledges nothing");
                };
                Err(kind)
            }
            Err(what) => Err(format!("bad S2S: {what}")),
        }
    }

    /// True when a part of a batch is left.
    pub(crate) fn has_rest(&self) -> bool {
        match self {
            Self::Session(duplex) => duplex.1.has_rest(),
            Self::Foreign(follow) => follow.has_rest(),
        }
    }
}
