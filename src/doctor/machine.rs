//! Processors, memory, clock, and whether the machine is one.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use super::finding::{Finding, Group};
use crate::io::host;

const MIB: u64 = 1024 * 1024;

/// What the machine gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// Processors that the process may run on.
    pub allowed: u32,
    /// Processors that there are.
    pub online: u32,
    /// What its control group grants it, in thousandths of a processor.
    pub quota_milli: Option<u64>,
    /// Bytes that its control group may have, or those of the machine.
    pub memory_bytes: Option<u64>,
    /// Bytes that the settings allow the server to use.
    pub wanted_bytes: u64,
    /// Where the kernel takes the time from.
    pub clock_source: String,
    /// What it runs in, where that is not a machine: `KVM`, `a container`.
    pub inside: Vec<String>,
}

/// Looks around; `wanted_bytes` is what the settings allow the server to use.
#[must_use]
pub fn gather(wanted_bytes: u64) -> MachineFacts {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let group = own_group(&read("/proc/self/cgroup"));
    let quota = fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.max"));
    let limit = fs::read_to_string(format!("/sys/fs/cgroup{group}/memory.max"));
    let memory =
        [limit.ok().and_then(|text| text.trim().parse().ok()), total(&read("/proc/meminfo"))];
    let parallel = available_parallelism().map_or(1, usize::from);
    MachineFacts {
        allowed: host::processors().unwrap_or(1),
        online: listed(&read("/sys/devices/system/cpu/online")),
        // The standard library knows both generations of control groups, to whole processors.
        quota_milli: quota.ok().and_then(|text| milli(&text)).or_else(|| {
            let parallel = u32::try_from(parallel).ok()?;
            (parallel < host::processors()?).then(|| u64::from(parallel) * 1000)
        }),
        memory_bytes: memory.into_iter().flatten().min(),
        wanted_bytes,
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .trim()
            .to_owned(),
        inside: inside(&read("/proc/cpuinfo"), &read("/sys/class/dmi/id/sys_vendor")),
    }
}

/// Whether the processor says that it is one of a virtual machine.
#[must_use]
pub fn is_virtual(facts: &MachineFacts) -> bool {
    facts.inside.iter().any(|name| name.starts_with("a virtual"))
}

/// The process's group in the second hierarchy, `/` for the root of what it can see.
fn own_group(text: &str) -> String {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(|path| path.trim_end_matches('/').to_owned()).unwrap_or_default()
}

/// `50000 100000` is half a processor; `max 100000` is all.
fn milli(text: &str) -> Option<u64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// `MemTotal:       50331648 kB`
fn total(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// How many numbers a list like `0-3,8` holds.
fn listed(text: &str) -> u32 {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    text.trim().split(',').filter_map(count).sum()
}

fn inside(cpuinfo: &str, vendor: &str) -> Vec<String> {
    let mut inside = Vec::new();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    if flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor")) {
        let vendor = vendor.trim();
        let by = if vendor.is_empty() { String::new() } else { format!(" ({vendor})") };
        inside.push(format!("a virtual machine{by}"));
    }
    if ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists()) {
        inside.push("a container".to_owned());
    }
    inside
}

/// Says what of that matters.
#[must_use]
pub fn judge(facts: &MachineFacts) -> Vec<Finding> {
    let mut findings = vec![processors(facts)];
    findings.extend(memory(facts));
    findings.push(clock(&facts.clock_source));
    if !facts.inside.is_empty() {
        let what = format!("runs in {}", facts.inside.join(", in "));
        let note = Finding::note("machine.virtual", Group::Machine, what);
        findings
            .push(note.why("other guests can take time from it, which shows as rare long waits"));
    }
    findings
}

fn processors(facts: &MachineFacts) -> Finding {
    let MachineFacts { allowed, online, quota_milli, .. } = *facts;
    let what = format!("{allowed} of {online} processors may be used");
    if let Some(quota) = quota_milli.filter(|quota| *quota < u64::from(allowed) * 1000) {
        let what = format!("{what}, for the time of {}.{:03}", quota / 1000, quota % 1000);
        return Finding::warning("machine.quota", Group::Machine, what)
            .why(
                "when the quota of a period is used up, everything stands still until the next, \
                 up to a tenth of a second",
            )
            .advice("give whole processors instead (AllowedCPUs=, --cpuset-cpus), or no quota");
    }
    Finding::ok("machine.processors", Group::Machine, what)
}

fn memory(facts: &MachineFacts) -> Option<Finding> {
    let bytes = facts.memory_bytes?;
    let what = format!("{} MiB of memory", bytes / MIB);
    if bytes < facts.wanted_bytes {
        let short = Finding::warning("machine.memory", Group::Machine, what)
            .why(format!(
                "the settings allow buffers and caches of {} MiB; the kernel ends the server when \
                 it has no more to give",
                facts.wanted_bytes / MIB
            ))
            .advice(
                "more memory, or smaller --request-memory-bytes, --read-window-bytes, \
                 --read-cache-bytes, --index-bytes, --append-inflight-bytes",
            );
        return Some(short);
    }
    Some(Finding::ok("machine.memory", Group::Machine, what))
}

fn clock(source: &str) -> Finding {
    let what = format!("the time comes from {source}");
    match source {
        // Those that the kernel lets a process read without a system call.
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => {
            Finding::ok("machine.clock", Group::Machine, what)
        }
        "" => {
            Finding::note("machine.clock", Group::Machine, "where the time comes from is not said")
        }
        _ => Finding::warning("machine.clock", Group::Machine, what)
            .why("each look at the clock is a system call then, and there are several per request")
            .advice("see in dmesg why the kernel gave up the processor's own counter (tsc)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> MachineFacts {
        MachineFacts {
            allowed: 4,
            online: 8,
            quota_milli: None,
            memory_bytes: Some(8192 * MIB),
            wanted_bytes: 900 * MIB,
            clock_source: "tsc".to_owned(),
            inside: Vec::new(),
        }
    }

    #[test]
    fn machines_and_what_is_said_of_them() {
        let fine = ["machine.processors", "machine.memory", "machine.clock"];
        let clock = |name: &str| MachineFacts { clock_source: name.to_owned(), ..facts() };
        for (facts, changed) in [
            (facts(), None),
            (MachineFacts { quota_milli: Some(4000), ..facts() }, None),
            (MachineFacts { quota_milli: Some(3999), ..facts() }, Some("machine.quota")),
            (MachineFacts { memory_bytes: Some(899 * MIB), ..facts() }, Some("machine.memory")),
            (clock("hpet"), Some("machine.clock")),
            (clock("kvm-clock"), None),
        ] {
            let found = judge(&facts);
            let warned = found.iter().find(|finding| !finding.advice.is_empty());
            assert_eq!(warned.map(|finding| finding.id), changed, "{facts:?}");
            assert_eq!(found.len(), fine.len());
        }
        let guest = MachineFacts { inside: vec!["a virtual machine (X)".to_owned()], ..facts() };
        assert!(is_virtual(&guest) && judge(&guest)[3].what.contains("(X)"));
    }

    #[test]
    fn texts_of_the_kernel_are_read() {
        assert_eq!(milli("50000 100000\n"), Some(500));
        assert_eq!(milli("max 100000\n"), None);
        assert_eq!(milli("1 0"), None);
        assert_eq!(total("MemTotal:  16 kB\nMemFree: 1 kB\n"), Some(16_384));
        assert_eq!(total(""), None);
        assert_eq!((listed("0-3,8\n"), listed("0"), listed("")), (5, 1, 0));
        assert_eq!(
            own_group("9:name=systemd:/x\n0::/system.slice/t.service\n"),
            "/system.slice/t.service"
        );
        assert_eq!((own_group("0::/\n"), own_group("")), (String::new(), String::new()));
        assert_eq!(inside("flags\t: fpu hypervisor\n", "QEMU\n")[0], "a virtual machine (QEMU)");
    }
}
