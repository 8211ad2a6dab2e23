//! A small parser of Prometheus' text format, stricter than a scraper.

use std::collections::BTreeMap;

/// A series' labels, sorted.
pub(super) type Labels = Vec<(String, String)>;

/// A parsed exposition: each series once, and each family's type.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    pub(super) types: BTreeMap<String, String>,
    pub(super) helps: BTreeMap<String, String>,
    pub(super) samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// Parses, or says what rule of the format is broken.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
        let mut parsed = Self::default();
        let mut family = String::new();
        for line in text.strip_suffix('\n').ok_or("no newline at the end")?.split('\n') {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').ok_or("HELP says nothing")?;
                let known = parsed.helps.insert(name.to_owned(), help.to_owned());
                if help.is_empty() || known.is_some() {
                    return Err(format!("HELP empty or repeated: {line}"));
                }
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').ok_or("TYPE says nothing")?;
                if parsed.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(format!("TYPE repeated: {line}"));
                }
                name.clone_into(&mut family);
            } else {
                parsed.sample(line, &family)?;
            }
        }
        Ok(parsed)
    }

    /// One sample of `family`, whose HELP and TYPE came before.
    fn sample(&mut self, line: &str, family: &str) -> Result<(), String> {
        let fail = |why: &str| Err(format!("{why}: {line}"));
        let end = line.find(['{', ' ']).ok_or_else(|| format!("no value: {line}"))?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = labels_of(rest).ok_or_else(|| format!("bad labels: {line}"))?;
        let Some(Ok(value)) = value.strip_prefix(' ').map(str::parse::<f64>) else {
            return fail("bad value");
        };
        let suffixes: &[&str] = match self.types.get(family).map(String::as_str) {
            Some("counter" | "gauge") => &[""],
            Some("histogram") => &["_bucket", "_sum", "_count"],
            _ => return fail("no known TYPE before it"),
        };
        let belongs = name.strip_prefix(family).is_some_and(|suffix| suffixes.contains(&suffix));
        if !belongs || !self.helps.contains_key(family) {
            return fail("not of the family above it, or without HELP");
        }
        let mut names: Vec<_> = labels.iter().map(|(name, _)| name).collect();
        names.dedup();
        if names.len() != labels.len() {
            return fail("label repeated");
        }
        if self.samples.insert((name.to_owned(), labels), value).is_some() {
            return fail("series repeated");
        }
        Ok(())
    }

    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut labels: Labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// The buckets of each series of `histogram`, by rising bound, with its other labels.
    pub(super) fn buckets(&self, histogram: &str) -> BTreeMap<Labels, Vec<(f64, f64)>> {
        let mut of_series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), count) in &self.samples {
            if name.strip_suffix("_bucket") == Some(histogram) {
                let (le, others): (Labels, Labels) =
                    labels.iter().cloned().partition(|(name, _)| name == "le");
                let bound = le[0].1.parse().unwrap();
                of_series.entry(others).or_default().push((bound, *count));
            }
        }
        of_series.values_mut().for_each(|buckets| buckets.sort_by(|a, b| a.0.total_cmp(&b.0)));
        of_series
    }
}

/// Sorted labels, unescaped, and what follows them; `None` if they break the format.
fn labels_of(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let well_named = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if name.is_empty() || !well_named {
            return None;
        }
        let mut value = String::new();
        let mut chars = after.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(match chars.next()? {
                    'n' => '\n',
                    plain @ ('"' | '\\') => plain,
                    _ => return None,
                }),
                plain => value.push(plain),
            }
        }
        labels.push((name.to_owned(), value));
        rest = chars.as_str();
        if let Some(after) = rest.strip_prefix('}') {
            labels.sort();
            return Some((labels, after));
        }
        rest = rest.strip_prefix(',')?;
    }
}

#[test]
fn the_parser_of_these_tests_refuses_what_breaks_the_format() {
    let head = "# HELP a b\n# TYPE a counter\n";
    for (text, accepted) in [
        ("a 1\n", true),
        ("a{} 1\n", false),
        ("a{b=\"c\",d=\"e\"} 1\n", true),
        ("a{b=\"\\\"\\\\\\n\"} 1\n", true),
        ("a{b=\"c\\t\"} 1\n", false),
        ("a{b=\"c} 1\n", false),
        ("a{b=c} 1\n", false),
        ("a{b=\"c\",b=\"d\"} 1\n", false),
        ("a 1", false),
        ("a\n", false),
        ("a x\n", false),
        ("a 1\na 2\n", false),
        ("a_sum 1\n", false),
        ("b 1\n", false),
        ("# HELP a again\n", false),
        ("# TYPE a gauge\n", false),
        ("# TYPE b gauge\nb 1\n", false),
    ] {
        let parsed = Exposition::parse(format!("{head}{text}").as_bytes());
        assert_eq!(parsed.is_ok(), accepted, "{text:?}: {parsed:?}");
    }
}
