//! A server that is started in another way than all others: as another user, or with less rights.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::common::{PROCESS_WAIT, poll, unique_name};

/// One process with a directory of its own; both end with the value.
pub(crate) struct Alone {
    pub(crate) dir: PathBuf,
    pub(crate) child: Child,
    command: Command,
}

impl Alone {
    /// Starts a server after `prepare` had a look at its command and its directory.
    pub(crate) fn start(prepare: impl FnOnce(&mut Command, &PathBuf)) -> Self {
        // Not in the build's directory, which may be closed to everybody else.
        let dir = std::env::temp_dir().join(unique_name("thalweg-alone"));
        fs::create_dir(&dir).expect("a directory");
        let binary = dir.join("thalweg");
        // By another process: a file that a child of another test may have open for writing, since
        // it was forked meanwhile, cannot be run.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_thalweg")).arg(&binary).status();
        assert!(copied.is_ok_and(|status| status.success()), "the binary could not be copied");
        let mut command = Command::new(&binary);
        command.args(["serve", "--listen=127.0.0.1:0", "--shards=2", "--segment-bytes=8388608"]);
        command.arg("--data-dir").arg(dir.join("data")).current_dir(&dir).stdin(Stdio::null());
        prepare(&mut command, &dir);
        let child = spawn(&mut command, &dir);
        Self { dir, child, command }
    }

    /// Starts it again after its end.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&mut self.command, &self.dir);
    }

    /// `address:port`, or how it ended instead of saying that it listens.
    pub(crate) fn host(&mut self) -> Result<String, ExitStatus> {
        let listening = poll(PROCESS_WAIT, || {
            let ended = self.child.try_wait().expect("a child's state");
            let said = self.read("stdout");
            let line = said.lines().find_map(|line| line.strip_prefix("listening on http://"));
            let host = line.filter(|_| said.ends_with('\n')).map(str::to_owned);
            host.map(Ok).or(ended.map(Err))
        });
        listening.unwrap_or_else(|| panic!("no start: {}", self.read("stderr")))
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) -> Option<ExitStatus> {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -s TERM \"$1\"", "sh", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal could not be sent");
        poll(PROCESS_WAIT, || self.child.try_wait().expect("a child's state"))
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }
}

fn spawn(command: &mut Command, dir: &std::path::Path) -> Child {
    let output = |name: &str| File::create(dir.join(name)).expect("an output file");
    command.stdout(output("stdout")).stderr(output("stderr"));
    command.spawn().expect("the server's binary can be run")
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        self.child.wait().expect("a killed child can be waited for");
        if std::thread::panicking() {
            eprintln!("{}", self.read("stderr"));
        }
        fs::remove_dir_all(&self.dir).expect("the directory can be removed");
    }
}
