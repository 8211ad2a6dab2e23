//! Routes, names, queries and the headers that decide what a request is: no input breaks the rules
//! of the answer, and percent-decoding is what the `url` project's form decoding says.

use thalweg::api::{Headers, Operation, Parts, route};

/// Header lines, as a transport has judged them.
struct Lines<'a>(Vec<(&'a str, &'a [u8])>);

impl Headers for Lines<'_> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    fn all(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        let named = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.for_each(|(_, value)| each(value));
    }
}

/// The input is a method, a target and header lines, each on a line of its own.
pub fn run(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let (Some(method), Some(target)) = (text(), text()) else { return };
    let headers = Lines(lines.filter_map(split_header).collect());
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let parts = Parts { method, path, query, headers: &headers };
    let routed = route(&parts);
    assert_eq!(routed, route(&parts));
    match routed {
        Ok(operation) => judge(&operation, path, query),
        Err(error) => {
            let response = error.into_response();
            assert!((400..600).contains(&response.status), "{}", response.status);
            assert!(response.body.len() < 1024, "an error body is shorter than 1 KiB");
            let json = serde_json::from_slice::<serde_json::Value>(&response.body);
            assert!(json.is_ok_and(|json| json["code"].is_string() && json["message"].is_string()));
        }
    }
}

fn split_header(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
}

/// Checks what was decoded against another decoder.
fn judge(operation: &Operation, path: &str, query: Option<&str>) {
    let segment = |index: usize| {
        let raw = path.split('/').nth(index).unwrap_or_default();
        // In a path a plus is itself, and what separates pairs is too.
        let raw = raw.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        let pair = format!("x={raw}");
        form_urlencoded::parse(pair.as_bytes())
            .next()
            .map_or(String::new(), |(_, v)| v.into_owned())
    };
    match operation {
        Operation::GetBasin(name)
        | Operation::ReconfigureBasin(name)
        | Operation::DeleteBasin(name)
        | Operation::EnsureBasin { basin: name, .. } => assert_eq!(name.as_str(), segment(3)),
        Operation::GetStream(at)
        | Operation::ReconfigureStream(at)
        | Operation::DeleteStream(at)
        | Operation::EnsureStream { path: at, .. }
        | Operation::CheckTail(at)
        | Operation::Append { path: at, .. }
        | Operation::AppendSession { path: at, .. }
        | Operation::Read { path: at, .. }
        | Operation::ReadSession { path: at, .. } => assert_eq!(at.stream.as_str(), segment(3)),
        Operation::ListBasins(page) | Operation::ListStreams { query: page, .. } => {
            let value = |name: &str| {
                let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
                pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
            };
            assert_eq!(page.prefix, value("prefix").unwrap_or_default());
            assert_eq!(page.start_after, value("start_after").unwrap_or_default());
            assert!((1..=1000).contains(&page.limit));
        }
        _ => {}
    }
}
