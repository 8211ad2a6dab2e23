//! A bucket for one test, and servers on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::common::server::Server;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};
use crate::moto::{BUCKET, Moto};
use crate::proxy::face::{self, Face};

pub(crate) type Setting = (&'static str, &'static str);
pub(crate) const SHARDS: u32 = 2;
/// The same faults in every run.
const SEED: u64 = 7;
const FACES: u64 = 3;

/// Where the objects are.
enum Place {
    Files(PathBuf),
    S3 { moto: &'static Moto, prefix: String, faces: Vec<Arc<Face>> },
}

/// One test at a time: each has up to three servers, and locked memory is counted for all that a
/// user runs.
#[expect(clippy::disallowed_types, reason = "it is a queue of tests")]
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A bucket of a test's own, empty at first.
pub(crate) struct Bucket {
    place: Place,
    _turn: MutexGuard<'static, ()>,
    /// For data directories beside those of servers.
    room: PathBuf,
}

impl Bucket {
    pub(crate) fn of_files() -> Self {
        let room = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("bucket"));
        let objects = room.join("objects");
        fs::create_dir_all(&objects).expect("a directory");
        Self { place: Place::Files(objects), _turn: turn(), room }
    }

    /// `None` when there is no S3 server.
    pub(crate) fn of_s3() -> Option<Self> {
        let moto = Moto::shared()?;
        let prefix = unique_name("case");
        let room = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&prefix);
        fs::create_dir_all(&room).expect("a directory");
        let behind = face::Bucket::new(&moto.host);
        let faces = (0..FACES).map(|number| Face::start(&behind, SEED + number));
        let faces = faces.collect::<Result<_, _>>().expect("the proxy listens");
        Some(Self { place: Place::S3 { moto, prefix, faces }, _turn: turn(), room })
    }

    /// A server's way to the bucket. Only on S3.
    pub(crate) fn face(&self, number: usize) -> &Face {
        match &self.place {
            Place::Files(_) => panic!("a directory is reached without a proxy"),
            Place::S3 { faces, .. } => &faces[number],
        }
    }

    /// Changes what goes wrong on a server's way to the bucket.
    #[track_caller]
    pub(crate) fn faults(&self, number: usize, words: &str) {
        self.face(number).change(words.split(' ')).expect("known words");
    }

    /// What a server is told, when its way to the bucket is this one. On a directory all ways are
    /// the same.
    pub(crate) fn settings(&self, face: usize) -> Vec<Setting> {
        let mut settings = vec![("THALWEG_BUCKET_INTERVAL_MS", "20")];
        match &self.place {
            Place::Files(dir) => {
                settings.push(("THALWEG_BUCKET", leak(format!("file://{}", dir.display()))));
            }
            Place::S3 { prefix, faces, .. } => {
                let endpoint = leak(format!("http://{}", faces[face].address()));
                settings.extend([
                    ("THALWEG_BUCKET", leak(format!("s3://{BUCKET}/{prefix}"))),
                    ("AWS_ENDPOINT_URL", endpoint),
                    ("AWS_ACCESS_KEY_ID", "test"),
                    ("AWS_SECRET_ACCESS_KEY", "test"),
                    ("AWS_REGION", "us-east-1"),
                    ("AWS_ALLOW_HTTP", "true"),
                ]);
            }
        }
        settings
    }

    /// A server with an empty data directory: on an empty bucket the first, else a replacement.
    pub(crate) fn server(&self, face: usize) -> Server {
        let server = Server::start_with(SHARDS, &self.settings(face));
        server.expect("these tests have servers of their own: unset THALWEG_TEST_URL")
    }

    /// A path of the test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.room.join(name)
    }

    /// Begins to start a server on a data directory, without waiting for what becomes of it.
    pub(crate) fn begin(&self, face: usize, data_dir: &Path) -> Attempt {
        let output = self.path(&unique_name("output"));
        let file = File::create(&output).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(["serve", "--listen=127.0.0.1:0", "--shards", &SHARDS.to_string()])
            .arg("--data-dir")
            .arg(data_dir)
            .env("THALWEG_SEGMENT_BYTES", "8388608")
            .envs(self.settings(face))
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("the server's binary can be run");
        Attempt { child, output }
    }

    /// Starts a server on a data directory, which must not come to serve; gives what it said.
    #[track_caller]
    pub(crate) fn refuses(&self, face: usize, data_dir: &Path) -> String {
        let mut attempt = self.begin(face, data_dir);
        let status = poll(EVENTUALLY_WAIT, || attempt.ended());
        let said = attempt.said();
        let status = status.unwrap_or_else(|| panic!("it goes on: {said}"));
        assert!(!status.success(), "{status}: {said}");
        assert!(!said.contains("listening on"), "it came to serve: {said}");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The names of all objects, in order.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut names = match &self.place {
            Place::Files(dir) => {
                let mut names = Vec::new();
                collect(dir, dir, &mut names);
                names
            }
            Place::S3 { moto, prefix, .. } => {
                let below = format!("{prefix}/");
                let names = moto.list(&below);
                names.iter().map(|name| name[below.len()..].to_owned()).collect()
            }
        };
        names.sort_unstable();
        names
    }

    pub(crate) fn get(&self, name: &str) -> Vec<u8> {
        match &self.place {
            Place::Files(dir) => fs::read(dir.join(name)).expect("an object"),
            Place::S3 { moto, .. } => {
                moto.send("GET", &self.target(name), &[], Vec::new()).status(200).body.clone()
            }
        }
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        match &self.place {
            Place::Files(dir) => {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
                fs::write(path, bytes).expect("an object");
            }
            Place::S3 { moto, .. } => {
                moto.send("PUT", &self.target(name), &[], bytes).status(200);
            }
        }
    }

    pub(crate) fn delete(&self, name: &str) {
        match &self.place {
            Place::Files(dir) => fs::remove_file(dir.join(name)).expect("an object"),
            Place::S3 { moto, .. } => {
                moto.send("DELETE", &self.target(name), &[], Vec::new()).status(204);
            }
        }
    }

    /// Where an object is, on the S3 server or the proxy.
    pub(crate) fn target(&self, name: &str) -> String {
        match &self.place {
            Place::Files(_) => unreachable!("only of S3"),
            Place::S3 { prefix, .. } => format!("/{BUCKET}/{prefix}/{name}"),
        }
    }
}

/// A server that may come to serve, or not; killed with this.
pub(crate) struct Attempt {
    child: Child,
    output: PathBuf,
}

impl Attempt {
    /// Its status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for its state")
    }

    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Where it serves, if it does.
    pub(crate) fn host(&self) -> Option<String> {
        let said = self.said();
        let mut lines = said.lines();
        lines.find_map(|line| Some(line.strip_prefix("listening on http://")?.to_owned()))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("bucket").to_owned();
            eprintln!("repeat with: scripts/bucket.sh {name}");
            eprintln!("without S3: cargo test --test bucket {name}");
            eprintln!("objects: {}", self.objects().join(" "));
        }
        fs::remove_dir_all(&self.room).unwrap_or_else(|error| eprintln!("{error}"));
    }
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(root: &Path, dir: &Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, names);
        } else {
            let name = path.strip_prefix(root).expect("it is below").to_str().expect("UTF-8");
            // One with `#` is being written, and has no name yet.
            if !name.contains('#') {
                names.push(name.to_owned());
            }
        }
    }
}

/// Settings live as long as the process.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
