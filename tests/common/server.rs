//! The server under test as a process: start, kill, terminate, restart, clean up.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::client::Client;
use super::tls::bridge;
use super::{PROCESS_WAIT, Stopwatch, poll, unique_name};

/// Small, so that a test writes little.
const SEGMENT_BYTES: &str = "8388608";
/// Names a server that runs already; tests that must kill theirs are then skipped.
const URL_VARIABLE: &str = "THALWEG_TEST_URL";
/// Has every server speak TLS; the clients, which do not, speak to it across a bridge.
const TLS_VARIABLE: &str = "THALWEG_TEST_TLS";

/// A running server, or one that a test has stopped and may start again.
pub(crate) struct Server {
    host: String,
    /// Where it speaks TLS, when it does: then `host` is a bridge to there.
    secure_host: Option<String>,
    dir: Option<PathBuf>,
    shards: u32,
    /// Settings by name of their environment variable.
    settings: Vec<(&'static str, &'static str)>,
    process: Option<Process>,
}

impl Server {
    /// The server that all tests share which neither stop nor restart it.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match given_host() {
            Some(host) => Self {
                host,
                secure_host: None,
                dir: None,
                shards: 0,
                settings: Vec::new(),
                process: None,
            },
            None => Self::start_new(2, &[]),
        })
    }

    /// A server of the test's own with an empty data directory and two shards; `None` when the
    /// suite was pointed to a running server, which cannot be stopped from here.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(2, &[])
    }

    /// The same with other numbers of shards, and settings by their environment variables.
    pub(crate) fn start_with(
        shards: u32,
        settings: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        if given_host().is_some() {
            eprintln!("skipped: needs a server of its own, and {URL_VARIABLE} is set");
            return None;
        }
        Some(Self::start_new(shards, settings))
    }

    fn start_new(shards: u32, settings: &[(&'static str, &'static str)]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("server"));
        fs::create_dir_all(&dir).expect("the directory for test data can be created");
        let mut settings = settings.to_vec();
        let is_secure = settings.iter().any(|(name, _)| name.starts_with("THALWEG_TLS_"));
        if std::env::var_os(TLS_VARIABLE).is_some() && !is_secure {
            settings.push(("THALWEG_TLS_SELF_SIGNED", "true"));
        }
        let (host, secure_host) = (String::new(), None);
        let mut server =
            Self { host, secure_host, dir: Some(dir), shards, settings, process: None };
        server.restart();
        server
    }

    /// `address:port`.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// `address:port` where it speaks TLS.
    pub(crate) fn secure_host(&self) -> &str {
        self.secure_host.as_deref().expect("this server speaks TLS")
    }

    /// A client without a basin and without a connection yet.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.host, self.dir.as_deref().map(stderr_path))
    }

    /// Where the server keeps its data. Only for servers of a test's own.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir().join("data")
    }

    /// Everything that the server wrote to its output and its error output.
    pub(crate) fn said(&self) -> String {
        let read = |name: &str| fs::read(self.dir().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&[read("stdout"), read("stderr")].concat()).into_owned()
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").child.id()
    }

    /// Starts the server on its data directory and waits until it says that it listens.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "stop the server before restarting it");
        let mut process = Process::spawn(self.dir(), self.shards, &self.settings);
        let stdout = self.dir().join("stdout");
        let host = poll(PROCESS_WAIT, || {
            let status = process.child.try_wait().expect("a child can be asked for its state");
            if let Some(status) = status {
                self.fail(&format!("the server ended at start: {status}"));
            }
            listening_host(&fs::read_to_string(&stdout).unwrap_or_default())
        });
        self.process = Some(process);
        match host {
            Some((host, false)) => self.host = host,
            Some((host, true)) => {
                self.host = bridge(&host);
                self.secure_host = Some(host);
            }
            None => self.fail("the server did not say `listening on http(s)://ADDR:PORT` in time"),
        }
    }

    /// The same with one more setting.
    pub(crate) fn restart_with(&mut self, setting: (&'static str, &'static str)) {
        self.settings.push(setting);
        self.restart();
    }

    /// Ends the server at once, as a crash would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("the server runs").kill();
    }

    /// Asks the server to end (SIGTERM); gives its status and how long it took.
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let watch = self.ask_to_end();
        self.wait_for_end(watch)
    }

    /// Sends SIGTERM and does not wait; gives a watch that started then.
    pub(crate) fn ask_to_end(&self) -> Stopwatch {
        let watch = Stopwatch::start();
        self.signal("TERM");
        watch
    }

    /// Sends a signal, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &process.child.id().to_string()])
            .status()
            .expect("a shell can be run");
        assert!(sent.success(), "the signal could not be sent");
    }

    /// Waits for the end of a server that was asked to end; gives its status and how long it took.
    pub(crate) fn wait_for_end(&mut self, watch: Stopwatch) -> (ExitStatus, Duration) {
        let mut process = self.process.take().expect("the server runs");
        let status = process.wait(PROCESS_WAIT + Duration::from_secs(5));
        let elapsed = watch.elapsed();
        let Some(status) = status else {
            process.kill();
            self.fail("the server did not end after SIGTERM");
        };
        process.reaper.dismiss();
        (status, elapsed)
    }

    /// Runs a second server on the same data directory, which is expected to refuse; gives its
    /// status (`None` when it did not end in time) and what it wrote.
    pub(crate) fn start_rival(&self) -> (Option<ExitStatus>, String) {
        self.rival_with(&[])
    }

    /// The same with more settings.
    pub(crate) fn rival_with(&self, more: &[(&str, &str)]) -> (Option<ExitStatus>, String) {
        let settings = [&self.settings[..], more].concat();
        let dir = self.dir().join("rival");
        fs::create_dir_all(&dir).expect("the directory for the rival can be created");
        let mut rival = Process::spawn_on(&dir, &self.data_dir(), self.shards, &settings);
        let status = rival.wait(PROCESS_WAIT);
        rival.kill();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
        (status, read("stderr") + &read("stdout"))
    }

    /// Has a stopped server's data directory checked; gives the status and what was said.
    pub(crate) fn verify(&self) -> (ExitStatus, String) {
        assert!(self.process.is_none(), "stop the server before its data is checked");
        self.command(&["verify"], &[])
    }

    /// Runs `repair` on the data directory; gives the status and what was said.
    pub(crate) fn repair(&self, arguments: &[&str]) -> (ExitStatus, String) {
        self.command(&["repair", "--data-dir"], arguments)
    }

    fn command(&self, before: &[&str], after: &[&str]) -> (ExitStatus, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(before)
            .arg(self.data_dir())
            .args(after)
            .stdin(Stdio::null())
            .output()
            .expect("the server's binary can be run");
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&said).into_owned())
    }

    fn dir(&self) -> &Path {
        self.dir.as_deref().expect("only a server of the suite's own has a directory")
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{what}\n{}", stderr_end(&stderr_path(self.dir())));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
        let Some(dir) = &self.dir else { return };
        if std::thread::panicking() {
            eprintln!("{}", stderr_end(&stderr_path(dir)));
        }
        fs::remove_dir_all(dir).unwrap_or_else(|error| eprintln!("{}: {error}", dir.display()));
    }
}

/// One life of the server.
struct Process {
    child: Child,
    reaper: Reaper,
}

impl Process {
    fn spawn(dir: &Path, shards: u32, settings: &[(&str, &str)]) -> Self {
        Self::spawn_on(dir, &dir.join("data"), shards, settings)
    }

    fn spawn_on(dir: &Path, data_dir: &Path, shards: u32, settings: &[(&str, &str)]) -> Self {
        let create = |name: &str| File::create(dir.join(name)).expect("an output file is created");
        let append = File::options().append(true).create(true).open(stderr_path(dir));
        let is_given = |name: &str| settings.iter().any(|(given, _)| *given == name);
        let listen = if is_given("THALWEG_LISTEN") { None } else { Some("--listen=127.0.0.1:0") };
        let child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["serve", "--shards", &shards.to_string()])
            .args(listen)
            .arg("--data-dir")
            .arg(data_dir)
            .env("THALWEG_SEGMENT_BYTES", SEGMENT_BYTES)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(create("stdout"))
            .stderr(append.expect("the error output file is opened"))
            .spawn()
            .expect("the server's binary can be run");
        let reaper = Reaper::watch(child.id(), dir);
        Self { child, reaper }
    }

    fn wait(&mut self, wait: Duration) -> Option<ExitStatus> {
        poll(wait, || self.child.try_wait().expect("a child can be asked for its state"))
    }

    /// The reaper goes first: it must never aim at a number that is no longer ours.
    fn kill(mut self) {
        self.reaper.dismiss();
        let _ended_already = self.child.kill();
        self.child.wait().expect("a killed child can be waited for");
    }
}

/// Ends a process and removes its directory when this process is gone: statics are never
/// dropped, and a run may be killed. It is a shell that waits on a pipe from here.
pub(crate) struct Reaper(Child);

impl Reaper {
    pub(crate) fn watch(pid: u32, dir: &Path) -> Self {
        let script = r#"read -r _ || { kill -s KILL "$1"; sleep 0.2; rm -rf -- "$2"; }"#;
        let child = Command::new("sh")
            .args(["-c", script, "sh", &pid.to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be run");
        Self(child)
    }

    fn dismiss(&mut self) {
        let mut pipe = self.0.stdin.take().expect("a reaper is dismissed once");
        pipe.write_all(b"dismissed\n").expect("the reaper reads its pipe");
        self.0.wait().expect("a dismissed reaper ends");
    }
}

fn given_host() -> Option<String> {
    let url = std::env::var(URL_VARIABLE).ok()?;
    let host = url.strip_prefix("http://").unwrap_or(&url);
    Some(host.trim_end_matches('/').to_owned())
}

/// Where the server says that it listens, and whether that is under TLS.
fn listening_host(stdout: &str) -> Option<(String, bool)> {
    let whole_lines = &stdout[..=stdout.rfind('\n')?];
    whole_lines
        .lines()
        .find_map(|line| line.strip_prefix("listening on ")?.split_once("://"))
        .map(|(scheme, host)| (host.to_owned(), scheme == "https"))
}

fn stderr_path(dir: &Path) -> PathBuf {
    dir.join("stderr")
}

/// The last lines of a server's error output, for a failure's report.
pub(crate) fn stderr_end(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(20)..].join("\n");
    format!("--- end of the server's error output\n{end}")
}
