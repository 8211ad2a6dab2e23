//! The machine a result was measured on: a number without it means nothing.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Facts about this machine; "unknown" where the kernel does not tell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Environment {
    kernel: String,
    cpu: String,
    cores: usize,
    /// File system of a directory, the current one unless said otherwise: type, device and mount
    /// options.
    file_system: String,
    /// Version of this program.
    loadgen: &'static str,
}

impl Environment {
    /// Reads it all from `/proc`.
    pub(crate) fn read() -> Self {
        Self::of(Path::new("."))
    }

    /// The same, with the file system of `directory`.
    pub(crate) fn of(directory: &Path) -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| cpu_model(&text))
                .unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            file_system: std::fs::canonicalize(directory)
                .ok()
                .zip(fs::read_to_string("/proc/self/mountinfo").ok())
                .and_then(|(directory, mounts)| file_system(&mounts, &directory))
                .unwrap_or_else(unknown),
            loadgen: env!("CARGO_PKG_VERSION"),
        }
    }

    /// One short line for people.
    pub(crate) fn line(&self) -> String {
        let Self { kernel, cpu, cores, file_system, .. } = self;
        format!("{cores} cores ({cpu}), Linux {kernel}, {file_system}")
    }
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The mount that holds `directory`, from the text of `/proc/self/mountinfo`.
fn file_system(mountinfo: &str, directory: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let (point, options) = (left.next()?.replace("\\040", " "), left.next()?);
        let mut right = right.split(' ');
        let (kind, device) = (right.next()?, right.next()?);
        directory
            .starts_with(&point)
            .then(|| (point.len(), format!("{kind} on {device} ({options})")))
    });
    // A later mount covers an earlier one at the same place.
    mounts.max_by_key(|(len, _)| *len).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_latest_mount_wins() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      30 22 0:20 / /tmp rw - tmpfs tmpfs rw\n\
                      31 22 8:2 / /tmp ro,noatime - xfs /dev/sdb rw\n\
                      broken line\n";
        for (directory, expected) in [
            ("/home/x", "ext4 on /dev/sda1 (rw,relatime)"),
            ("/tmp/y", "xfs on /dev/sdb (ro,noatime)"),
            ("/tmpfoo", "ext4 on /dev/sda1 (rw,relatime)"),
        ] {
            assert_eq!(file_system(mounts, Path::new(directory)).as_deref(), Some(expected));
        }
        assert_eq!(file_system("", Path::new("/")), None);
    }

    #[test]
    fn the_cpu_model_is_found() {
        assert_eq!(cpu_model("x\nmodel name\t: Some CPU\n").as_deref(), Some("Some CPU"));
        assert_eq!(cpu_model("processor : 0\n"), None);
    }
}
