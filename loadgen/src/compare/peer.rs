//! Who is compared: where its program is found, and how it is started so that an acknowledgement
//! means a sync of the disk.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    Thalweg,
    S2Lite,
    DurableStreams,
    Redis,
}

impl Peer {
    /// All of them; the first is the one that the others are compared with.
    pub(crate) const ALL: [Self; 4] =
        [Self::Thalweg, Self::S2Lite, Self::DurableStreams, Self::Redis];

    /// The name in reports and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Thalweg => "thalweg",
            Self::S2Lite => "s2-lite",
            Self::DurableStreams => "durable-streams",
            Self::Redis => "redis",
        }
    }

    /// True when the load generator speaks its own protocol with it.
    pub(crate) fn speaks_s2(self) -> bool {
        self.protocol().is_none()
    }

    /// True when it may sync through io_uring, where no system call shows it.
    pub(crate) fn syncs_through_ring(self) -> bool {
        self == Self::Thalweg
    }

    /// The load generator's `--protocol`, where it is always the same.
    pub(crate) fn protocol(self) -> Option<&'static str> {
        match self {
            Self::Thalweg | Self::S2Lite => None,
            Self::DurableStreams => Some("durable-streams"),
            Self::Redis => Some("redis"),
        }
    }

    /// The program's name on `PATH`.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Thalweg => "thalweg",
            Self::S2Lite => "s2",
            Self::DurableStreams => "durable-streams-server",
            Self::Redis => "redis-server",
        }
    }

    /// How to get it.
    pub(crate) fn how_to_install(self) -> &'static str {
        match self {
            Self::Thalweg => "cargo build --release",
            Self::S2Lite => "cargo install s2-cli --locked",
            Self::DurableStreams => "cargo install durable-streams --locked",
            Self::Redis => "apt-get install redis-server",
        }
    }

    /// What its acknowledgements promise as it is started here, and what else one has to know.
    pub(crate) fn terms(self) -> &'static str {
        match self {
            Self::Thalweg => "defaults; acknowledges after write and sync of its log",
            Self::S2Lite => "`s2 lite --local-root`, defaults; an object store in a directory",
            Self::DurableStreams => {
                "defaults: `--durability wal`, a group commit with fdatasync; a stream is a sequence \
                 of bytes without records"
            }
            Self::Redis => {
                "Streams with `appendonly yes`, `appendfsync always`; snapshots and rewriting of the \
                 append-only file are off; all data stays in memory"
            }
        }
    }

    /// The arguments that let it serve at `port` of 127.0.0.1 and keep its data in `data`.
    pub(crate) fn arguments(self, port: u16, data: &Path) -> Vec<String> {
        let data = data.display();
        let line = match self {
            Self::Thalweg => format!("serve --listen 127.0.0.1:{port} --data-dir"),
            Self::S2Lite => format!("lite --port {port} --no-dashboard --local-root"),
            Self::DurableStreams => format!("--host 127.0.0.1 --port {port} --data-dir"),
            Self::Redis => format!(
                "--bind 127.0.0.1 --port {port} --daemonize no --appendonly yes \
                 --appendfsync always --auto-aof-rewrite-percentage 0 --dir"
            ),
        };
        let mut arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        arguments.push(data.to_string());
        if self == Self::Redis {
            // An empty word: no snapshots.
            arguments.extend(["--save".to_owned(), String::new()]);
        }
        arguments
    }

    /// The arguments that make it say its version.
    pub(crate) fn version_arguments(self) -> Option<&'static str> {
        // `durable-streams-server` has none and would start to serve.
        (self != Self::DurableStreams).then_some("--version")
    }
}

/// Looks for `program`: a path as it is, a name on `PATH`.
pub(crate) fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|at| at.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_or_where_they_are_said_to_be() {
        let shell = find(Path::new("sh")).expect("every system has it");
        assert_eq!(find(&shell), Some(shell));
        assert_eq!(find(Path::new("/nowhere/thalweg")), None);
        assert_eq!(find(Path::new("no-such-program-here")), None);
    }

    #[test]
    fn every_server_is_told_its_port_and_its_directory() {
        for peer in Peer::ALL {
            let arguments = peer.arguments(4_321, Path::new("/data dir"));
            assert!(arguments.iter().any(|word| word.contains("4321")), "{arguments:?}");
            assert!(arguments.contains(&"/data dir".to_owned()), "{arguments:?}");
        }
    }
}
