//! The server as the kernel and its own metrics show it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::http1::{Wire, get};

/// A server's process.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) address: SocketAddr,
    pub(super) headers: String,
}

impl Process {
    /// Begins to watch the most memory that is resident at a time.
    pub(super) fn forget_peak(&self) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.pid);
        std::fs::write(&path, "5").with_context(|| path)
    }

    /// The most memory that was resident at a time since then, in bytes.
    pub(super) fn peak_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid);
        let status = std::fs::read_to_string(&path).with_context(|| path)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .context("the kernel does not say VmHWM")?;
        Ok(kib << 10)
    }

    /// How many connections the server counts.
    pub(super) fn connections(&self) -> Result<u64> {
        let answer = Wire::open(self.address)?.exchange(&get("/metrics", &self.headers))?;
        let text = String::from_utf8_lossy(&answer.body);
        let counts = text.lines().filter_map(|line| {
            let name = line.strip_prefix("thalweg_connections")?;
            (name.starts_with('{') || name.starts_with(' ')).then_some(())?;
            line.rsplit_once(' ')?.1.parse::<f64>().ok()
        });
        let counts: Vec<_> = counts.collect();
        anyhow::ensure!(!counts.is_empty(), "the server does not count its connections");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small count"
        )]
        Ok(counts.iter().sum::<f64>() as u64)
    }

    /// How long it takes until no more connections than `before` are there; `None` when it takes
    /// until `deadline`.
    pub(super) fn until_connections(
        &self,
        before: u64,
        deadline: Instant,
    ) -> Result<Option<Duration>> {
        let began = Instant::now();
        loop {
            // The one that asks is counted, then as now.
            if self.connections()? <= before + 1 {
                return Ok(Some(began.elapsed()));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
