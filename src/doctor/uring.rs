//! Whether the process may use io_uring, and if not, who forbids it.

use std::fs;

use super::finding::{Finding, Group};
use crate::io::host;

const EPERM: i32 = 1;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSYS: i32 = 38;

/// What came of asking for a ring, and what may have stood against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingFacts {
    /// Error number of `io_uring_setup`, if it failed.
    pub error: Option<i32>,
    /// `/proc/sys/kernel/io_uring_disabled`, where there is one (Linux 6.6).
    pub disabled: Option<u32>,
    /// A seccomp filter is in force.
    pub is_filtered: bool,
}

/// Asks for a ring.
#[must_use]
pub fn gather() -> RingFacts {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    RingFacts {
        error: host::try_ring().err(),
        disabled: number("/proc/sys/kernel/io_uring_disabled"),
        is_filtered: is_filtered(&status),
    }
}

/// Whether the process's status says that a filter judges its system calls.
fn is_filtered(status: &str) -> bool {
    status.lines().any(|line| {
        let mode = line.strip_prefix("Seccomp:").map(str::trim);
        mode == Some("2")
    })
}

/// Says whether the server can have its rings.
#[must_use]
pub fn judge(facts: &RingFacts) -> Finding {
    let Some(error) = facts.error else {
        return Finding::ok("ring.allowed", Group::Kernel, "io_uring may be used");
    };
    let (id, why, advice) = match error {
        EPERM => who_forbids(facts),
        ENOSYS => who_lacks(facts.is_filtered),
        _ => what_lacks(error),
    };
    let what = format!("io_uring is refused: {}", std::io::Error::from_raw_os_error(error));
    Finding::failure(id, Group::Kernel, what)
        .why(format!("the server does all its work through it, and {why}"))
        .advice(advice)
        .stops()
}

/// Name of the finding, why the ring is refused, what to do.
type Reason = (&'static str, &'static str, &'static str);

/// What to do about a filter.
const PASS: &str = "let the filter pass io_uring_setup, io_uring_enter and io_uring_register; \
                    docs/deploy/seccomp.json is a profile that does (docker run --security-opt \
                    seccomp=seccomp.json)";

fn who_forbids(facts: &RingFacts) -> Reason {
    match (facts.disabled, facts.is_filtered) {
        (Some(2), _) => (
            "ring.sysctl",
            "the setting kernel.io_uring_disabled is 2, which forbids it to everybody",
            "sysctl kernel.io_uring_disabled=0, and the same in /etc/sysctl.d",
        ),
        (Some(1), _) => (
            "ring.sysctl",
            "the setting kernel.io_uring_disabled is 1, which forbids it to users without \
             privileges outside of one group",
            "sysctl kernel.io_uring_disabled=0, or set kernel.io_uring_group to a group of the \
             server's user",
        ),
        (_, true) => (
            "ring.filter",
            "no setting of the kernel forbids it, but a seccomp filter is in force for this \
             process, as container engines set one by default",
            PASS,
        ),
        (_, false) => (
            "ring.forbidden",
            "neither a setting of the kernel nor a seccomp filter is seen to forbid it, so a \
             security module may",
            "look for a denial in the kernel's log (dmesg, ausearch -m avc)",
        ),
    }
}

fn who_lacks(is_filtered: bool) -> Reason {
    if is_filtered {
        return (
            "ring.filter",
            "a seccomp filter, as container engines set one, answers as if the kernel did not \
             have it; or the kernel has been built without it",
            PASS,
        );
    }
    (
        "ring.missing",
        "this kernel has been built without it (CONFIG_IO_URING)",
        "boot a kernel that has it",
    )
}

fn what_lacks(error: i32) -> Reason {
    match error {
        ENOMEM => (
            "ring.memory",
            "there is too little memory for it, or before Linux 5.12 too little that may be locked",
            "raise the limit of locked memory (LimitMEMLOCK=infinity, ulimit -l), or the memory \
             limit of the control group",
        ),
        EMFILE | ENFILE => (
            "ring.files",
            "too many files are open already",
            "raise the limit of open files (LimitNOFILE=65536, ulimit -n)",
        ),
        _ => ("ring.failed", "the reason is not one that is known here", "look into dmesg"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_reason() {
        let facts = |error, disabled, is_filtered| RingFacts { error, disabled, is_filtered };
        for (facts, id, words) in [
            (facts(None, Some(2), true), "ring.allowed", ""),
            (facts(Some(1), Some(2), true), "ring.sysctl", "everybody"),
            (facts(Some(1), Some(1), false), "ring.sysctl", "io_uring_group"),
            (facts(Some(1), Some(0), true), "ring.filter", "seccomp filter"),
            (facts(Some(1), None, true), "ring.filter", "seccomp.json"),
            (facts(Some(1), Some(0), false), "ring.forbidden", "security module"),
            (facts(Some(38), None, true), "ring.filter", "as if the kernel did not"),
            (facts(Some(38), None, false), "ring.missing", "CONFIG_IO_URING"),
            (facts(Some(12), None, false), "ring.memory", "LimitMEMLOCK"),
            (facts(Some(24), None, false), "ring.files", "LimitNOFILE"),
            (facts(Some(5), None, false), "ring.failed", "dmesg"),
        ] {
            let finding = judge(&facts);
            assert_eq!(finding.id, id, "{facts:?}");
            assert_eq!(finding.stops_server, facts.error.is_some());
            assert!(finding.sentence().contains(words), "{}", finding.sentence());
        }
    }

    #[test]
    fn a_filter_is_read_from_the_status() {
        assert!(is_filtered("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"));
        assert!(!is_filtered("Seccomp:\t0\nSeccomp_filters:\t2\n"));
        assert!(!is_filtered(""));
    }
}
