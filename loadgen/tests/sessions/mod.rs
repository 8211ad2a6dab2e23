//! Sessions, HTTP/2 and readers: all that the tests of `append` do not cover.

use crate::fake::{Fake, Fault};
use crate::{Scratch, run};
use serde_json::{Value, json};

/// A closed loop of one writer.
const STEADY: [&str; 8] =
    ["--rate", "max", "--connections", "1", "--records-per-batch", "4", "--duration", "300ms"];

/// Every form of append that there is besides JSON over HTTP/1.1, and how deep it may go.
const FORMS: [[&str; 6]; 5] = [
    ["--protocol", "json", "--http", "2", "--depth", "5"],
    ["--protocol", "proto", "--http", "1", "--depth", "1"],
    ["--protocol", "proto", "--http", "2", "--depth", "5"],
    ["--protocol", "s2s", "--http", "1", "--depth", "5"],
    ["--protocol", "s2s", "--http", "2", "--depth", "5"],
];
const SESSIONS: [[&str; 6]; 2] = [FORMS[3], FORMS[4]];

/// Runs a load that is verified; returns exit code, output and result.
fn verified(fake: &Fake, parts: &[&[&str]]) -> (Option<i32>, String, Value) {
    let scratch = Scratch::new();
    let out = ["--verify", "--out", scratch.0.to_str().unwrap()];
    let (code, text) = run(fake, "append", &[&parts.concat()[..], &out].concat());
    let result = scratch.result();
    (code, text, result)
}

fn counts(result: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| result["verify"][name].as_u64().unwrap()).collect()
}

const FAULTS: [&str; 4] = ["lost", "duplicated", "torn", "wrong"];

#[test]
fn a_faultless_server_is_found_good_in_every_form() {
    for form in FORMS {
        for layout in [
            &["--connections", "2", "--streams", "1", "--rate", "max"][..],
            &["--connections", "3", "--streams", "2", "--threads", "2", "--rate", "max"],
            &["--connections", "2", "--rate", "200", "--records-per-batch", "9"],
        ] {
            let fake = Fake::start(Fault::None);
            let (code, text, result) = verified(&fake, &[&form, layout, &["--duration", "300ms"]]);
            // An open loop may find itself too slow on a busy machine; that is not at issue here.
            assert!(matches!(code, Some(0 | 3)), "{form:?} {layout:?}: {text}");
            let state = fake.state.lock().unwrap();
            assert!(state.appends > 20, "{text}");
            assert_eq!(result["verify"]["acknowledged"], state.appends, "{text}");
            assert_eq!(counts(&result, &FAULTS), [0, 0, 0, 0], "{text}");
            assert_eq!(result["errors"], json!({}), "{text}");
            assert_eq!(result["settings"]["protocol"], form[1]);
            assert_eq!(state.requests_of_http2 > 0, form[3] == "2", "{text}");
            assert_eq!(result["settings"]["depth"].to_string(), form[5]);
        }
    }
}

#[test]
fn http2_carries_more_streams_than_connections_and_http1_does_not() {
    let fake = Fake::start(Fault::None);
    let layout = ["--connections", "2", "--streams", "5"];
    let load = ["--rate", "max", "--duration", "300ms"];
    let (code, text, result) = verified(&fake, &[&SESSIONS[1], &layout, &load]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(counts(&result, &FAULTS), [0, 0, 0, 0], "{text}");
    assert!(fake.state.lock().unwrap().streams.values().all(|s| !s.records.is_empty()), "{text}");
    for refused in [[&SESSIONS[0][..], &layout].concat(), vec!["--depth", "2"]] {
        let (code, text) = run(&fake, "append", &refused);
        assert_eq!(code, Some(4), "{refused:?}: {text}");
    }
}

#[test]
fn every_fault_is_found_in_every_form() {
    for form in &FORMS[2..] {
        for (fault, lost, duplicated, torn, is_wrong) in [
            (Fault::LoseRecord, 0, 0, 1, true),
            (Fault::LoseBatch, 1, 0, 0, false),
            (Fault::Duplicate, 0, 1, 0, false),
            (Fault::Tear, 0, 0, 1, false),
            (Fault::WrongByte, 0, 0, 0, true),
            (Fault::RefuseAfterStore, 0, 0, 0, true),
        ] {
            let (code, text, result) = verified(&Fake::start(fault), &[form, &STEADY]);
            assert_eq!(code, Some(1), "{form:?} {fault:?}: {text}");
            let found = counts(&result, &FAULTS);
            assert_eq!(found[..3], [lost, duplicated, torn], "{form:?} {fault:?}: {text}");
            assert_eq!(found[3] > 0, is_wrong, "{form:?} {fault:?}: {text}");
        }
    }
}

#[test]
fn a_broken_session_leaves_its_batches_in_doubt_and_another_takes_over() {
    // (fault, what is said of it, in doubt at least, present exactly)
    for (fault, kind, present) in [
        (Fault::HangUpAfterStore, "", 1),
        (Fault::HangUpBeforeStore, "", 0),
        (Fault::ShortAck, "acknowledgement of a range that is not the append's", 1),
        (Fault::CutAck, "", 1),
        (Fault::EndEarly, "session ended without acknowledgement", 0),
    ] {
        for form in SESSIONS {
            let fake = Fake::start(fault);
            let (code, text, result) = verified(&fake, &[&form, &STEADY]);
            assert_eq!(code, Some(0), "{form:?} {fault:?}: {text}");
            let doubt = result["verify"]["indeterminate"].as_u64().unwrap();
            assert!((1..=5).contains(&doubt), "all that was in flight: {text}");
            // Those behind the faulty one may have been read before the end was noticed.
            assert!(result["verify"]["present"].as_u64() >= Some(present), "{fault:?}: {text}");
            assert!(result["verify"]["acknowledged"].as_u64() > Some(30), "it went on: {text}");
            assert!(text.contains(kind), "{form:?} {fault:?}: {text}");
            let errors = result["errors"].as_object().unwrap();
            assert_eq!(errors.values().filter_map(Value::as_u64).sum::<u64>(), doubt, "{text}");
        }
    }
}

#[test]
fn a_terminal_message_that_leaves_nothing_behind_refuses_all_that_follows() {
    for form in SESSIONS {
        let (code, text, result) = verified(&Fake::start(Fault::Refuse), &[&form, &STEADY]);
        assert_eq!(code, Some(0), "{text}");
        assert_eq!(result["errors"]["terminal 429 rate_limited"], 1, "{text}");
        assert_eq!(result["appends"]["indeterminate"], 0, "{text}");
        assert!(result["appends"]["acknowledged"].as_u64() > Some(30), "it went on: {text}");

        let fake = Fake::start(Fault::StoreBehindTerminal);
        let (code, text, result) = verified(&fake, &[&form, &STEADY]);
        // Only if another batch was under way when the first was refused.
        if result["errors"].get("behind a terminal message").is_some() {
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains("refused or never sent"), "{text}");
        }
    }
    let fake = Fake::start(Fault::Unavailable);
    let (code, text) = run(&fake, "append", &[&SESSIONS[0][..], &STEADY].concat());
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("terminal 503 unavailable") && text.contains("no append"), "{text}");
}

#[test]
fn batches_that_never_found_room_are_charged_with_their_wait() {
    for form in SESSIONS {
        let load = ["--rate", "200", "--connections", "1", "--duration", "500ms"];
        let limits = ["--request-timeout", "500ms"];
        let fake = Fake::start(Fault::Silence);
        let (code, text, result) = verified(&fake, &[&form, &load, &limits]);
        assert!(matches!(code, Some(0 | 3)), "{text}");
        // 20 answered, five in flight in each of two sessions, the rest waiting when it ends.
        assert_eq!(result["appends"]["acknowledged"], 20, "{text}");
        assert_eq!(result["errors"]["timeout"], 10, "{text}");
        assert_eq!(result["appends"]["never_sent"], 70, "{text}");
        assert_eq!(result["verify"]["indeterminate"], 10, "{text}");
        if code == Some(0) {
            assert_eq!(result["latency_us"]["count"], 100, "{text}");
            assert!(result["latency_us"]["p50"].as_f64() >= Some(500_000.0), "{text}");
        }
    }
}

#[test]
fn a_lost_connection_over_http2_is_replaced_for_all_its_writers() {
    let fake = Fake::start(Fault::HangUpBeforeStore);
    let (code, text, result) = verified(&fake, &[&FORMS[2], &STEADY]);
    assert_eq!(code, Some(0), "{text}");
    let doubt = result["verify"]["indeterminate"].as_u64().unwrap();
    assert!((1..=5).contains(&doubt), "{text}");
    assert!(result["verify"]["acknowledged"].as_u64() > Some(30), "it went on: {text}");
}

/// Runs `tail` at a rate that leaves several records to a read; returns code, output and result.
fn tailed(fault: Fault, form: &[&str]) -> (Option<i32>, String, Value) {
    let (fake, scratch) = (Fake::start(fault), Scratch::new());
    let load = ["--rate", "100", "--connections", "1", "--records-per-batch", "4"];
    let rest = ["--duration", "500ms", "--verify", "--request-timeout", "1s"];
    let out = ["--out", scratch.0.to_str().unwrap()];
    let (code, text) = run(&fake, "tail", &[form, &load, &rest, &out].concat());
    (code, text, scratch.result())
}

fn reader_faults(result: &Value) -> Vec<(String, u64)> {
    let faults = result["delivery"]["faults"].as_object().unwrap();
    let counts = faults.iter().filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn readers_get_everything_in_every_form() {
    for form in FORMS.iter().chain([&["--protocol", "json", "--http", "1", "--depth", "1"]]) {
        let many = ["--readers", "3", "--streams", "2", "--connections", "2", "--rate", "max"];
        let (fake, scratch) = (Fake::start(Fault::None), Scratch::new());
        let rest = ["--duration", "300ms", "--verify", "--out", scratch.0.to_str().unwrap()];
        let (code, text) = run(&fake, "tail", &[&form[..], &many, &rest].concat());
        assert_eq!(code, Some(0), "{form:?}: {text}");
        let result = scratch.result();
        let state = fake.state.lock().unwrap();
        // The first stream has two readers, the second one.
        let expected: usize = [("loadgen-1-0", 2), ("loadgen-1-1", 1)]
            .map(|(name, readers)| readers * state.streams[name].records.len())
            .iter()
            .sum();
        let delivery = &result["delivery"];
        assert_eq!(delivery["records"], expected, "{text}");
        assert_eq!(delivery["from_send_us"]["count"], expected, "{text}");
        assert_eq!(delivery["from_ack_us"]["count"], expected, "{text}");
        assert_eq!(delivery["heartbeats"], 3, "{text}");
        assert_eq!(state.reads, 3);
        let least = delivery["from_send_us"]["p50"].as_f64();
        assert!(least > delivery["from_ack_us"]["p50"].as_f64(), "{text}");
        for name in ["latency.hlog", "latency.svg"] {
            let text = std::fs::read_to_string(scratch.path(name)).unwrap();
            assert!(text.contains("delivery") || text.contains("send to reader"), "{name}");
        }
    }
}

#[test]
fn what_readers_are_given_wrongly_is_found_and_named() {
    for (fault, kind, count) in [
        (Fault::SkipInRead, "gaps", 1),
        (Fault::RepeatInRead, "repeated", 1),
        (Fault::ChangeInRead, "wrong", 1),
        (Fault::PrematureHeartbeat, "premature", 1),
        (Fault::LoseBatch, "lost", 1),
        (Fault::Duplicate, "doubled", 4),
        (Fault::LoseRecord, "gaps", 1),
    ] {
        for form in SESSIONS {
            let (code, text, result) = tailed(fault, &form);
            assert_eq!(code, Some(1), "{form:?} {fault:?}: {text}");
            let faults = reader_faults(&result);
            assert!(faults.contains(&(kind.to_owned(), count)), "{fault:?}: {faults:?} {text}");
        }
    }
}

#[test]
fn a_reader_goes_on_where_its_session_broke() {
    for form in SESSIONS {
        let (code, text, result) = tailed(Fault::BreakReads, &form);
        assert!(matches!(code, Some(0 | 3)), "{text}");
        assert_eq!(reader_faults(&result), [], "{text}");
        assert_eq!(result["delivery"]["records"], 200, "{text}");
        let errors = result["errors"].as_object().unwrap();
        assert_eq!(errors.len(), 2, "{text}");
        assert_eq!(errors["reader: terminal 503 unavailable"], 1, "{text}");
    }
}

#[test]
fn tail_refuses_loads_whose_records_cannot_carry_a_time() {
    let fake = Fake::start(Fault::None);
    for bad in [
        &["--record-bytes", "33"][..],
        &["--format", "base64"],
        &["--input", "/dev/null"],
        &["--connections", "4097"],
    ] {
        let (code, text) = run(&fake, "tail", bad);
        assert_eq!(code, Some(4), "{bad:?}: {text}");
    }
}

/// What the fake server's receipts say is what the result says, in every form of append.
#[test]
fn receipts_are_taken_from_headers_and_acknowledgements() {
    let json = ["--protocol", "json", "--http", "1", "--depth", "1"];
    for form in [&[json][..], &FORMS].concat() {
        let fake = Fake::start(Fault::None);
        let (code, text, result) = verified(&fake, &[&form, &STEADY, &["--receipts"]]);
        assert_eq!(code, Some(0), "{form:?}: {text}");
        let receipts = &result["receipts"];
        assert!(receipts["count"].as_u64() > Some(0), "{form:?}: {text}");
        assert_eq!(receipts["missing"], 0, "{form:?}: {text}");
        for (part, value) in [("queued_us", 31), ("write_us", 40), ("sync_us", 55), ("batches", 3)]
        {
            assert_eq!(receipts[part], json!({"p50": value, "p99": value}), "{form:?} {part}");
        }
        assert!(text.contains("sync_us    p50 55, p99 55"), "{text}");

        let fake = Fake::start(Fault::None);
        fake.state.lock().unwrap().gives_receipts = false;
        let (code, text, result) = verified(&fake, &[&form, &STEADY, &["--receipts"]]);
        assert_eq!(code, Some(0), "{form:?}: {text}");
        assert_eq!(result["receipts"]["count"], 0, "{form:?}: {text}");
        assert!(result["receipts"]["missing"].as_u64() > Some(0), "{form:?}: {text}");

        let fake = Fake::start(Fault::None);
        let (_, text, result) = verified(&fake, &[&form, &STEADY]);
        assert!(result["receipts"].is_null() && !text.contains("receipts"), "{form:?}: {text}");
    }
}
