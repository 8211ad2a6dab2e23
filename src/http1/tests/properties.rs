//! Random requests in random pieces, and random bytes.

use proptest::prelude::*;

use super::super::{Limits, chunk, chunk_head};
use super::{Driver, Mode, Seen};

/// One valid request as bytes, with the body it carries.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let name = "[A-Za-z][A-Za-z0-9_-]{0,12}";
    // A prefix keeps random names from being ones with a meaning.
    let lines = prop::collection::vec((name.prop_map(|n| format!("x-{n}")), "[ -~]{0,30}"), 0..30);
    let body = prop_oneof![
        Just(None),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|body| Some((body, None))),
        (prop::collection::vec(any::<u8>(), 0..300), 1..40usize)
            .prop_map(|(body, chunk_bytes)| Some((body, Some(chunk_bytes)))),
    ];
    ("[A-Z]{1,7}x", "/[a-z%0-9/?=&.-]{0,40}", lines, body, any::<bool>()).prop_map(
        |(method, target, lines, body, extended)| {
            let mut out = format!("{method} {target} HTTP/1.1\r\nHost: example\r\n").into_bytes();
            for (name, value) in lines {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            let Some((body, chunk_bytes)) = body else {
                out.extend_from_slice(b"\r\n");
                return (out, Vec::new());
            };
            let Some(chunk_bytes) = chunk_bytes else {
                out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(&body);
                return (out, body);
            };
            out.extend_from_slice(b"transfer-encoding: CHUNKED\r\n\r\n");
            for piece in body.chunks(chunk_bytes) {
                chunk(&mut out, piece);
            }
            chunk_head(&mut out, 0);
            out.extend_from_slice(if extended { b"trailer: x\r\n\r\n" } else { b"\r\n" });
            (out, body)
        },
    )
}

/// Cuts `input` at the given places, taken modulo its length.
fn cut(input: &[u8], places: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = places.iter().map(|at| at.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| input[pair[0]..pair[1]].to_vec()).collect()
}

/// Bytes that are more likely than chance to mean something.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::sample::select(vec![
            "GET / HTTP/1.1\r\n",
            "POST /x?y HTTP/1.1\r\nHost: h\r\n",
            "HTTP/1.0\r\n",
            "Host: h\r\n",
            "Content-Length: 3\r\n",
            "Content-Length: 99999999999\r\n",
            "Connection: close\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "\r\n",
            "\n",
            "\r",
            "\r\n\r\n",
            "3\r\nabc\r\n",
            "0\r\n\r\n",
            "0\r\n",
            "ffffffffffffffff\r\n",
            "5;a=b\r\n",
            " ",
            ":",
            "\0",
            "GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n",
            "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Collect), Just(Mode::Stream)]
}

proptest! {
    #[test]
    fn valid_requests_survive_any_fragmentation(
        requests in prop::collection::vec(request(), 1..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        mode in mode(),
    ) {
        let input = requests.iter().map(|(raw, _)| &raw[..]).collect::<Vec<_>>().concat();
        let pieces = cut(&input, &places);
        let seen = Driver::new(Limits::default(), mode).run(pieces.iter().map(|p| &p[..]), true);
        prop_assert_eq!(seen.len(), requests.len() + 1, "{:?}", seen);
        for (seen, (raw, expected)) in seen.iter().zip(&requests) {
            let Seen::Request { head, body } = seen else { panic!("{seen:?}") };
            prop_assert_eq!(body, expected);
            // The first line, put together again, is the one that was sent.
            let line = raw.split(|&byte| byte == b'\r').next().unwrap();
            let line = std::str::from_utf8(line).unwrap();
            let (method, rest) = line.split_once(' ').unwrap();
            let (target, _) = rest.split_once(' ').unwrap();
            let expected = match target.split_once('?') {
                Some((path, query)) => format!("{method} {path} {:?} ", Some(query)),
                None => format!("{method} {target} None "),
            };
            prop_assert!(head.starts_with(&expected), "{} {}", head, expected);
        }
        prop_assert_eq!(seen.last(), Some(&Seen::Closed));
    }

    #[test]
    fn a_damaged_request_ends_the_same_however_it_is_cut(
        (mut input, _) in request(),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(b" \r\n\t:;,0\0".to_vec())],
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        mode in mode(),
    ) {
        let at = at.index(input.len());
        input[at] = byte;
        let pieces = cut(&input, &places);
        let whole = Driver::new(Limits::default(), mode).run([&input[..]], true);
        let cut = Driver::new(Limits::default(), mode).run(pieces.iter().map(|p| &p[..]), true);
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn hostile_bytes_end_the_same_however_they_are_cut(
        input in hostile(),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        mode in mode(),
        eof in any::<bool>(),
    ) {
        let limits = Limits {
            head_bytes_max: 150,
            target_bytes_max: 10,
            header_count_max: 4,
            body_bytes_max: 30,
            chunk_line_bytes_max: 20,
            chunk_extension_bytes_max: 10,
            trailer_bytes_max: 20,
            ..Limits::default()
        };
        let pieces = cut(&input, &places);
        let whole = Driver::new(limits.clone(), mode).run([&input[..]], eof);
        let cut = Driver::new(limits, mode).run(pieces.iter().map(|p| &p[..]), eof);
        prop_assert_eq!(cut, whole);
    }
}
