//! Durations and retention as a resource spec writes them.

use std::time::Duration;

use crate::types::Retention;

/// Longest text of a duration, in bytes.
const TEXT_BYTES_MAX: usize = 64;
/// Most digits of one of its numbers, before or behind its point.
///
/// Five numbers of that length fit into [`TEXT_BYTES_MAX`], and as years they stay below 2^64
/// seconds: `humantime` ends the process when a sum gets there in nanoseconds.
const DIGITS_MAX: usize = 11;

/// Reads groups of number and unit that are added together, such as `2h 30m`.
///
/// * Units: whole seconds; fractions are cut off.
/// * Errors: what is wrong, for whoever wrote the file.
pub(super) fn age_secs(text: &str) -> Result<u64, String> {
    let is_digit = |c: char| c.is_ascii_digit();
    // Digits with blanks between them are one number.
    let packed: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let digits_max = packed.split(|c| !is_digit(c)).map(str::len).max().unwrap_or(0);
    if text.len() > TEXT_BYTES_MAX || digits_max > DIGITS_MAX {
        return Err(format!(
            "{text:?} is no duration: at most {TEXT_BYTES_MAX} bytes, with numbers of at most \
             {DIGITS_MAX} digits"
        ));
    }
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(Duration::as_secs(&duration)),
        Err(error) => Err(format!("{text:?} is no duration: {error}")),
    }
}

/// Reads `infinite`, in any case, or a duration of at least one second.
pub(super) fn retention(text: &str) -> Result<Retention, String> {
    if text.eq_ignore_ascii_case("infinite") {
        return Ok(Retention::Infinite);
    }
    match age_secs(text)? {
        0 => Err(format!("{text:?} is too short: a retention is at least 1 second")),
        secs => Ok(Retention::AgeSecs(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each unit by each of its names, in thousandths of a second; those below one last.
    const UNITS: &[(&[&str], u64)] = &[
        (&["s", "sec", "secs", "second", "seconds"], 1000),
        (&["m", "min", "mins", "minute", "minutes"], 60_000),
        (&["h", "hr", "hrs", "hour", "hours"], 3_600_000),
        (&["d", "day", "days"], 86_400_000),
        (&["w", "wk", "wks", "week", "weeks"], 604_800_000),
        (&["M", "month", "months"], 2_630_016_000),
        (&["y", "yr", "yrs", "year", "years"], 31_557_600_000),
        (&["ms", "msec", "millis"], 1),
    ];

    #[test]
    fn every_name_of_every_unit() {
        for (names, millis) in UNITS {
            for name in *names {
                for space in ["", " ", "  \t"] {
                    let text = format!("2500{space}{name}");
                    assert_eq!(age_secs(&text), Ok(2500 * millis / 1000), "{text}");
                }
            }
        }
        for name in ["us", "usec", "µs"] {
            assert_eq!(age_secs(&format!("2500000{name}")), Ok(2), "{name}");
        }
        for name in ["ns", "nsec", "nanos"] {
            assert_eq!(age_secs(&format!("2500000000{name}")), Ok(2), "{name}");
        }
    }

    #[test]
    fn durations_accepted() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("2h 30m", 9000),
            ("2h30m", 9000),
            (" 1week ", 604_800),
            ("1week 1s", 604_801),
            ("1day 1day", 172_800),
            ("1.5h", 5400),
            ("0.5s", 0),
            ("1.9s", 1),
            ("1.5 days", 129_600),
            ("1 0s", 10),
            ("999ms", 0),
            ("999ms 1ms", 1),
            ("600ms 600ms", 1),
            ("1m", 60),
            ("1M", 2_630_016),
            ("99999999999years", 3_155_759_999_968_442_400),
        ];
        for (text, secs) in cases {
            assert_eq!(age_secs(text), Ok(secs), "{text:?}");
        }
    }

    #[test]
    fn durations_refused() {
        let cases = [
            "",
            " ",
            "1",
            "00",
            "s",
            "-1s",
            "+1s",
            "1,5h",
            "1.h",
            ".5h",
            "1H",
            "1D",
            "1Day",
            "1Minute",
            "1 fortnight",
            "1s s",
            "1e3s",
            "٣s",
            "1s;",
            "0x1s",
            "1h-1m",
            "1.0000000001ns",
            "infinite",
            "100000000000s",
            "18446744073709551615s 1000000000ns",
            "584542046090years",
            "1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s 1s",
        ];
        for text in cases {
            let said = age_secs(text).expect_err(text);
            assert!(said.contains(&format!("{text:?}")), "{said}");
        }
    }

    #[test]
    fn retentions_accepted_and_refused() {
        for text in ["infinite", "Infinite", "INFINITE", "inFinIte"] {
            assert_eq!(retention(text), Ok(Retention::Infinite), "{text}");
        }
        assert_eq!(retention("7days"), Ok(Retention::AgeSecs(604_800)));
        assert_eq!(retention("1s"), Ok(Retention::AgeSecs(1)));
        for text in ["0", "0s", "999ms", "0.9s", "infinit", " infinite", "", "7"] {
            assert!(retention(text).is_err(), "{text:?}");
        }
    }
}
