//! The control address: one line asks, one line answers.
//!
//! ```text
//! face 0 latency_ms=100 lose_answer=5   settings of a face; `none` makes all zero
//! counts 0                              what happened on a face
//! front 127.0.0.1:1000 127.0.0.1:1001   where new connections go, in turn; no words: nowhere
//! sever                                 ends connections to servers that are no targets
//! ```

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::face::Face;
use super::front::Front;

const LINE_BYTES_MAX: u64 = 4096;

/// What is controlled.
#[derive(Debug)]
pub struct Control {
    /// The ways to the bucket.
    pub faces: Vec<Arc<Face>>,
    /// The way to the servers.
    pub front: Arc<Front>,
}

impl Control {
    /// Begins to listen, on a free port of the loopback address.
    pub fn start(self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let control = Arc::new(self);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let control = Arc::clone(&control);
                thread::spawn(move || control.serve(client));
            }
        });
        Ok(address)
    }

    fn serve(&self, client: TcpStream) {
        let Ok(mut answers) = client.try_clone() else { return };
        let mut lines = BufReader::new(client);
        loop {
            let mut line = String::new();
            match lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let answer = self.obey(line.trim()).unwrap_or_else(|error| format!("error: {error}"));
            if writeln!(answers, "{answer}").is_err() {
                return;
            }
        }
    }

    /// Does what a line says; gives the answer.
    pub fn obey(&self, line: &str) -> Result<String, String> {
        let mut words = line.split_whitespace();
        match words.next().unwrap_or_default() {
            "face" => self.face(words.next())?.change(words)?,
            "counts" => return Ok(self.face(words.next())?.counts().line()),
            "front" => {
                let targets = words.map(|word| word.parse().map_err(|_| bad(word)));
                self.front.set(targets.collect::<Result<_, String>>()?);
            }
            "sever" => self.front.sever(),
            other => return Err(bad(other)),
        }
        Ok("ok".to_owned())
    }

    fn face(&self, number: Option<&str>) -> Result<&Face, String> {
        let number = number.unwrap_or_default();
        let face = number.parse::<usize>().ok().and_then(|number| self.faces.get(number));
        face.map(|face| &**face).ok_or_else(|| bad(number))
    }
}

fn bad(word: &str) -> String {
    format!("cannot use {word:?}")
}
