//! Histories written by hand, right ones and wrong ones.

use std::time::Duration;

use super::{Bounds, Verdict, check};
use crate::event::{Append, Event, Finish, Line, Start, chain, record_hash};
use crate::history::History;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), memory_bytes: 64 * 1024 * 1024 };

/// Writes a history; each client's operations follow each other.
#[derive(Default)]
struct Story {
    lines: Vec<Line>,
    next_op: u64,
}

/// An operation that has begun.
struct Begun {
    client_id: u64,
    op_id: u64,
}

fn batch(bodies: &[&str]) -> Append {
    Append {
        num_records: bodies.len() as u64,
        record_hashes: bodies.iter().map(|body| record_hash(body.as_bytes())).collect(),
        set_fencing_token: None,
        fencing_token: None,
        match_seq_num: None,
    }
}

fn at(tail: u64, bodies: &[&str]) -> Append {
    Append { match_seq_num: Some(tail), ..batch(bodies) }
}

fn holding(token: &str, bodies: &[&str]) -> Append {
    Append { fencing_token: Some(token.into()), ..batch(bodies) }
}

fn fence(token: &str) -> Append {
    Append { set_fencing_token: Some(token.into()), ..batch(&[token]) }
}

/// The answer to a read of these records.
fn read(bodies: &[&str]) -> Finish {
    let hash = bodies.iter().fold(0, |hash, body| chain(hash, record_hash(body.as_bytes())));
    Finish::ReadSuccess { tail: bodies.len() as u64, stream_hash: hash }
}

impl Story {
    fn begin(&mut self, client_id: u64, asked: Start) -> Begun {
        let op_id = self.next_op;
        self.next_op += 1;
        self.lines.push(Line { event: Event::Start(asked), client_id, op_id });
        Begun { client_id, op_id }
    }

    fn append(&mut self, client_id: u64, append: Append) -> Begun {
        self.begin(client_id, Start::Append(append))
    }

    fn end(&mut self, Begun { client_id, op_id }: Begun, answer: Finish) -> &mut Self {
        self.lines.push(Line { event: Event::Finish(answer), client_id, op_id });
        self
    }

    fn appended(&mut self, client_id: u64, append: Append, tail: u64) -> &mut Self {
        let begun = self.append(client_id, append);
        self.end(begun, Finish::AppendSuccess { tail })
    }

    fn failed(&mut self, client_id: u64, append: Append) -> &mut Self {
        let begun = self.append(client_id, append);
        self.end(begun, Finish::AppendDefiniteFailure)
    }

    fn read(&mut self, client_id: u64, bodies: &[&str]) -> &mut Self {
        let begun = self.begin(client_id, Start::Read);
        self.end(begun, read(bodies))
    }

    fn tail(&mut self, client_id: u64, tail: u64) -> &mut Self {
        let begun = self.begin(client_id, Start::CheckTail);
        self.end(begun, Finish::CheckTailSuccess { tail })
    }

    fn verdict(&self) -> Verdict {
        let history = History::of(self.lines.iter().cloned()).expect("the story is well formed");
        check(&history, BOUNDS).verdict
    }

    #[track_caller]
    fn holds(&self) {
        let verdict = self.verdict();
        assert!(matches!(verdict, Verdict::Linearizable(_)), "{verdict:?}");
    }

    #[track_caller]
    fn is_refused(&self) {
        let verdict = self.verdict();
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    }
}

#[test]
fn nothing_at_all_holds() {
    Story::default().holds();
}

#[test]
fn one_client_after_another_holds() {
    let mut story = Story::default();
    story.read(1, &[]).tail(1, 0).appended(1, batch(&["a", "b"]), 2).tail(2, 2);
    story.appended(2, batch(&["c"]), 3).read(1, &["a", "b", "c"]).holds();
}

#[test]
fn appends_at_the_same_time_hold_in_either_order() {
    for first in [["a", "b"], ["b", "a"]] {
        let mut story = Story::default();
        let a = story.append(1, batch(&["a"]));
        let b = story.append(2, batch(&["b"]));
        let a_tail = if first[0] == "a" { 1 } else { 2 };
        story.end(a, Finish::AppendSuccess { tail: a_tail });
        story.end(b, Finish::AppendSuccess { tail: 3 - a_tail });
        story.read(3, &first).holds();
        story.read(3, &[first[1], first[0]]).is_refused();
    }
}

#[test]
fn a_read_at_the_same_time_may_see_the_append_or_not() {
    for seen in [&["a"][..], &[]] {
        let mut story = Story::default();
        let a = story.append(1, batch(&["a"]));
        story.read(2, seen);
        story.end(a, Finish::AppendSuccess { tail: 1 }).holds();
    }
}

#[test]
fn what_was_seen_once_stays_seen() {
    let mut story = Story::default();
    let a = story.append(1, batch(&["a"]));
    story.read(2, &["a"]).read(3, &[]);
    story.end(a, Finish::AppendSuccess { tail: 1 }).is_refused();
}

#[test]
fn a_stale_read_is_refused() {
    Story::default().appended(1, batch(&["a"]), 1).read(2, &[]).is_refused();
}

#[test]
fn a_stale_tail_is_refused() {
    Story::default().appended(1, batch(&["a"]), 1).tail(2, 0).is_refused();
}

#[test]
fn a_tail_before_its_time_is_refused() {
    Story::default().tail(2, 1).appended(1, batch(&["a"]), 1).is_refused();
}

#[test]
fn a_lost_append_is_refused() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1).appended(1, batch(&["b"]), 2).read(2, &["a"]);
    story.is_refused();
    // Also when another one has taken its place, so that the tail is right.
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1);
    let unknown = story.append(2, batch(&["c"]));
    story.appended(1, batch(&["b"]), 2).read(3, &["a", "c"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn an_append_acknowledged_twice_at_one_place_is_refused() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1).appended(2, batch(&["b"]), 1).is_refused();
}

#[test]
fn a_duplicate_append_is_refused() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1).read(1, &["a", "a"]).is_refused();
    // An append of unknown outcome happens once at most.
    let mut story = Story::default();
    let unknown = story.append(1, batch(&["a"]));
    story.read(2, &["a"]).tail(2, 1).read(2, &["a", "a"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn a_gap_is_refused() {
    Story::default().appended(1, batch(&["a"]), 1).appended(1, batch(&["b"]), 3).is_refused();
}

#[test]
fn reordered_appends_are_refused() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1).appended(2, batch(&["b"]), 2);
    story.read(3, &["b", "a"]).is_refused();
    // The first was done before the second began, whatever their tails say.
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 2).appended(2, batch(&["b"]), 1).is_refused();
}

#[test]
fn reordered_records_of_one_batch_are_refused() {
    Story::default().appended(1, batch(&["a", "b"]), 2).read(1, &["b", "a"]).is_refused();
}

#[test]
fn a_torn_batch_is_refused() {
    let mut story = Story::default();
    let unknown = story.append(1, batch(&["a", "b"]));
    story.read(2, &["a"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn wrong_content_is_refused() {
    Story::default().appended(1, batch(&["a"]), 1).read(1, &["z"]).is_refused();
}

#[test]
fn a_wrong_tail_of_an_append_is_refused() {
    Story::default().appended(1, batch(&["a", "b"]), 1).is_refused();
    Story::default().appended(1, batch(&["a"]), u64::MAX).is_refused();
}

#[test]
fn a_definite_failure_that_took_effect_is_refused() {
    Story::default().failed(1, batch(&["a"])).read(1, &["a"]).is_refused();
    Story::default().failed(1, batch(&["a"])).read(1, &[]).holds();
}

#[test]
fn an_append_of_unknown_outcome_happens_or_not() {
    for seen in [&["a", "b"][..], &["b"]] {
        let mut story = Story::default();
        let unknown = story.append(1, batch(&["a"]));
        story.appended(2, batch(&["b"]), seen.len() as u64).read(2, seen);
        story.end(unknown, Finish::AppendIndefiniteFailure).holds();
    }
}

#[test]
fn an_append_of_unknown_outcome_may_happen_late() {
    let mut story = Story::default();
    let unknown = story.append(1, batch(&["a"]));
    story.read(2, &[]).appended(2, batch(&["b"]), 1).read(2, &["b"]).read(2, &["b", "a"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).holds();
}

#[test]
fn an_append_of_unknown_outcome_does_not_happen_before_it_begins() {
    let mut story = Story::default();
    story.read(2, &["a"]);
    let unknown = story.append(1, batch(&["a"]));
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn an_append_of_unknown_outcome_does_not_go_away_again() {
    let mut story = Story::default();
    let unknown = story.append(1, batch(&["a"]));
    story.read(2, &["a"]).read(2, &[]);
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn an_append_that_never_ended_counts_as_unknown() {
    let mut story = Story::default();
    story.append(1, batch(&["a"]));
    story.tail(2, 0).tail(2, 1).holds();
    story.tail(2, 2).is_refused();
}

#[test]
fn appends_at_a_position_hold_one_after_another() {
    let mut story = Story::default();
    story.appended(1, at(0, &["a"]), 1).failed(2, at(0, &["b"])).appended(2, at(1, &["b"]), 2);
    story.read(1, &["a", "b"]).holds();
}

#[test]
fn an_append_past_its_position_is_refused() {
    Story::default().appended(1, batch(&["a"]), 1).appended(2, at(0, &["b"]), 2).is_refused();
    Story::default().appended(1, at(1, &["a"]), 1).is_refused();
    // Two at the same position cannot both succeed.
    let mut story = Story::default();
    let a = story.append(1, at(0, &["a"]));
    let b = story.append(2, at(0, &["b"]));
    story.end(a, Finish::AppendSuccess { tail: 1 });
    story.end(b, Finish::AppendSuccess { tail: 2 }).is_refused();
}

#[test]
fn an_append_of_unknown_outcome_keeps_to_its_position() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1);
    let unknown = story.append(2, at(0, &["b"]));
    story.read(1, &["a", "b"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn holders_of_the_fence_append_and_others_do_not() {
    let mut story = Story::default();
    story.appended(1, fence("one"), 1).appended(1, holding("one", &["a"]), 2);
    story.failed(2, holding("two", &["b"])).appended(2, fence("two"), 3);
    story.appended(2, holding("two", &["b"]), 4).failed(1, holding("one", &["c"]));
    story.appended(3, batch(&["free"]), 5).read(3, &["one", "a", "two", "b", "free"]).holds();
}

#[test]
fn a_fence_that_was_passed_is_refused() {
    let mut story = Story::default();
    story.appended(1, fence("one"), 1).appended(2, fence("two"), 2);
    story.appended(1, holding("one", &["a"]), 3).is_refused();
    // Nobody has set the token.
    Story::default().appended(1, holding("one", &["a"]), 1).is_refused();
    // An append that was under way when the fence fell comes before it or not at all.
    let mut story = Story::default();
    story.appended(1, fence("one"), 1);
    let late = story.append(1, holding("one", &["a"]));
    story.appended(2, fence("two"), 2).read(3, &["one", "two"]);
    story.end(late, Finish::AppendSuccess { tail: 3 }).is_refused();
    // So does one of unknown outcome.
    let mut story = Story::default();
    story.appended(1, fence("one"), 1);
    let late = story.append(1, holding("one", &["a"]));
    story.appended(2, fence("two"), 2).read(3, &["one", "two"]).tail(3, 3);
    story.end(late, Finish::AppendIndefiniteFailure).is_refused();
}

#[test]
fn a_fence_that_was_forgotten_is_refused() {
    let mut story = Story::default();
    story.appended(1, fence("one"), 1).appended(2, holding("", &["a"]), 2).is_refused();
    Story::default().appended(2, holding("", &["a"]), 1).holds();
}

#[test]
fn a_fence_of_unknown_outcome_may_have_fallen() {
    let mut story = Story::default();
    let unknown = story.append(1, fence("one"));
    story.appended(2, holding("one", &["a"]), 2).read(3, &["one", "a"]);
    story.end(unknown, Finish::AppendIndefiniteFailure).holds();
}

#[test]
fn the_order_found_is_an_order_of_the_history() {
    let mut story = Story::default();
    let unknown = story.append(1, batch(&["a"]));
    let b = story.append(2, batch(&["b"]));
    story.read(3, &["a"]);
    story.end(b, Finish::AppendSuccess { tail: 2 });
    story.end(unknown, Finish::AppendIndefiniteFailure);
    assert_eq!(story.verdict(), Verdict::Linearizable(vec![0, 2, 1]));
}

#[test]
fn a_refusal_says_how_far_it_came() {
    let mut story = Story::default();
    story.appended(1, batch(&["a"]), 1).tail(1, 1).tail(1, 0).tail(1, 1);
    let Verdict::Refused(furthest) = story.verdict() else { panic!("tails do not step back") };
    assert_eq!((furthest.certain, furthest.state.tail, furthest.stuck), (2, 1, 2));
}

/// `count` appends of unknown outcome, all different, and a tail that none of them explains: every
/// subset in every order has to be tried.
fn puzzle(count: u64) -> History {
    let mut story = Story::default();
    for client_id in 0..count {
        story.append(client_id, batch(&[&client_id.to_string()]));
    }
    story.tail(count, count + 1);
    History::of(story.lines).expect("the story is well formed")
}

#[test]
fn a_search_that_takes_too_long_is_undecided() {
    let bounds = Bounds { time: Duration::from_millis(20), ..BOUNDS };
    let bounds = Bounds { memory_bytes: 1024 * 1024 * 1024, ..bounds };
    assert_eq!(check(&puzzle(40), bounds).verdict, Verdict::Undecided("time"));
}

#[test]
fn a_search_that_takes_too_much_memory_is_undecided() {
    let bounds = Bounds { memory_bytes: 64 * 1024, ..BOUNDS };
    assert_eq!(check(&puzzle(40), bounds).verdict, Verdict::Undecided("memory"));
    assert!(matches!(check(&puzzle(5), BOUNDS).verdict, Verdict::Refused(_)));
}
