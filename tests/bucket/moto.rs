//! An S3 server that is not ours (moto), as a process of the test's, and objects in it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::common::http::{Conn, Request, Response};
use crate::common::server::Reaper;
use crate::common::{EVENTUALLY_WAIT, poll, unique_name};

/// Names moto's program.
const VARIABLE: &str = "THALWEG_TEST_MOTO";
/// The bucket that all tests share, each below a prefix of its own.
pub(crate) const BUCKET: &str = "thalweg-tests";
/// moto takes any signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=0";

/// The S3 server that all tests of this process share.
pub(crate) struct Moto {
    /// `address:port`.
    pub(crate) host: String,
    _reaper: Reaper,
}

impl Moto {
    /// `None` when no program was named.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Moto>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(VARIABLE) else {
            eprintln!("skipped: needs an S3 server, which scripts/bucket.sh brings");
            return None;
        };
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name("moto"));
        fs::create_dir_all(&dir).expect("a directory");
        let log = dir.join("log");
        let file = File::create(&log).expect("a file");
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("moto can be run");
        let reaper = Reaper::watch(child.id(), &dir);
        let host = poll(EVENTUALLY_WAIT, || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("a child can be asked for its state");
            assert!(ended.is_none(), "moto ended: {said}");
            let (_, rest) = said.split_once("Running on http://")?;
            Some(rest.split_once('\n')?.0.trim().to_owned())
        });
        let moto = Self { host: host.expect("moto says where it listens"), _reaper: reaper };
        moto.send("PUT", &format!("/{BUCKET}"), &[], Vec::new()).status(200);
        Some(moto)
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Response {
        send(&self.host, method, target, headers, body).expect("moto answers")
    }

    /// The names of all objects below a prefix.
    pub(crate) fn list(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().cloned().unwrap_or_default();
            let target = format!("/{BUCKET}?list-type=2&prefix={prefix}&start-after={after}");
            let page = self.send("GET", &target, &[], Vec::new());
            let page = String::from_utf8(page.status(200).body.clone()).expect("text");
            let keys = page.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
            names.extend(keys.map(|(key, _)| key.to_owned()));
            if page.contains("<IsTruncated>false") {
                return names;
            }
        }
    }
}

/// Sends one request to a server that speaks S3, on a connection of its own.
pub(crate) fn send(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Response, String> {
    let mut request = Request::new(method, target).header("authorization", AUTHORIZATION);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut conn = Conn::open(host);
    conn.write(&request.bytes(body).encode(host)).map_err(|error| error.to_string())?;
    conn.read_response(method)
}
