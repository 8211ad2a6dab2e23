//! Processes: a server on an empty directory, and calls of the load generator; each bounded.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;

/// Longest wait until a server accepts connections.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait until it ends after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Gap between two looks.
const NAP: Duration = Duration::from_millis(20);

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `program` as `peer` on the directory `data`, which it makes and which must not be
    /// there; it says what it says into `log`.
    pub(crate) fn start(peer: Peer, program: &Path, data: &Path, log: &Path) -> Result<Self> {
        std::fs::create_dir(data).context("making a new data directory")?;
        let address = free_address()?;
        let log_file = File::create(log)?;
        let mut command = Command::new(program);
        command
            .args(peer.arguments(address.port(), data))
            // Its memory and its writes are looked at, which who is not root may do only then.
            .env("THALWEG_ALLOW_CORE_DUMPS", "true")
            .stdin(Stdio::null())
            .stdout(log_file.try_clone()?)
            .stderr(log_file);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let mut server = Self { child, address };
        let deadline = Instant::now() + START_LIMIT;
        while !serves(peer, address) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended at once, {status}: {}", peer.name(), last_words(log));
            }
            if Instant::now() >= deadline {
                bail!("{} does not serve in time: {}", peer.name(), last_words(log));
            }
            sleep(NAP);
        }
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, and insists.
    pub(crate) fn stop(mut self) -> Result<()> {
        ask_to_end(&self.child, Signal::TERM);
        if wait(&mut self.child, STOP_LIMIT)?.is_none() {
            self.child.kill()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends `signal` to a child that has not been waited for.
pub(crate) fn ask_to_end(child: &Child, signal: Signal) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Ended already, it cannot be asked.
        let _ = kill_process(pid, signal);
    }
}

/// Waits for `child`, `limit` at most.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(NAP);
    }
}

/// Runs `command` to its end, `limit` at most; what it says goes to `log`.
///
/// Errors: it took longer, or ended in another way than `accepted`.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    log: &Path,
    accepted: &[i32],
) -> Result<()> {
    let file = File::create(log)?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    let Some(status) = wait(&mut child, limit)? else {
        child.kill()?;
        child.wait()?;
        bail!("took longer than {} s", limit.as_secs());
    };
    if !status.code().is_some_and(|code| accepted.contains(&code)) {
        bail!("{status}: {}", last_words(log));
    }
    Ok(())
}

/// True when a server at `address` accepts connections and, where it can say so, is well: one may
/// accept before it has recovered.
fn serves(peer: Peer, address: SocketAddr) -> bool {
    if !peer.speaks_s2() {
        return TcpStream::connect(address).is_ok();
    }
    get(address, "/health", START_LIMIT).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The whole answer to a request for `path`.
pub(crate) fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// An address where nobody serves.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The end of a log, for an error.
fn last_words(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_call_is_bounded_and_its_end_is_judged() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let long = Duration::from_secs(60);
        assert!(run(&mut shell("exit 3"), long, &log, &[0, 3]).is_ok());
        let failed = run(&mut shell("echo because; exit 4"), long, &log, &[0, 3]).unwrap_err();
        assert!(failed.to_string().ends_with("because"), "{failed}");
        let slow = run(&mut shell("exec sleep 60"), Duration::ZERO, &log, &[0]).unwrap_err();
        assert!(slow.to_string().contains("longer"), "{slow}");
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let (data, log) = (directory.path().join("data"), directory.path().join("log"));
        let error = Server::start(Peer::Thalweg, Path::new("/bin/false"), &data, &log);
        assert!(error.err().unwrap().to_string().contains("ended at once"));
    }
}
