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

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use super::super::face::Bucket;
    use super::*;

    /// A server that tells everybody its name, and keeps the connection.
    fn named(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for mut client in listener.incoming().flatten() {
                writeln!(client, "{name}").unwrap();
                kept.push(client);
            }
        });
        address
    }

    fn open(front: SocketAddr) -> (String, BufReader<TcpStream>) {
        let mut stream = BufReader::new(TcpStream::connect(front).unwrap());
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        (line.trim().to_owned(), stream)
    }

    #[test]
    fn lines_change_the_faces_and_the_front() {
        let faces = vec![Face::start(&Bucket::new("127.0.0.1:1"), 1).unwrap()];
        let front = Front::start().unwrap();
        let at = front.address();
        let control = Control { faces, front };
        assert_eq!(open(at).0, "", "there is nobody yet");
        let (first, second) = (named("first"), named("second"));
        control.obey(&format!("front {first}")).unwrap();
        let (name, mut kept) = open(at);
        assert_eq!(name, "first");
        control.obey(&format!("front {first} {second}")).unwrap();
        let mut names = [open(at).0, open(at).0];
        names.sort();
        assert_eq!(names, ["first", "second"]);
        control.obey(&format!("front {second}")).unwrap();
        assert_eq!(open(at).0, "second");
        control.obey("sever").unwrap();
        assert_eq!(kept.read_line(&mut String::new()).unwrap(), 0, "it was not severed");

        assert_eq!(control.obey("face 0 latency_ms=5"), Ok("ok".to_owned()));
        assert!(control.obey("counts 0").unwrap().starts_with("requests=0 "));
        for line in ["", "face", "face 1 none", "face 0 what=1", "front here", "stop"] {
            assert!(control.obey(line).is_err(), "{line}");
        }
    }

    #[test]
    fn it_is_reached_by_its_address() {
        let front = Front::start().unwrap();
        let control = Control { faces: Vec::new(), front }.start().unwrap();
        let stream = TcpStream::connect(control).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut ask = |line: &str| {
            writeln!(&stream, "{line}").unwrap();
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            answer
        };
        assert_eq!(ask("front 127.0.0.1:1"), "ok\n");
        assert!(ask("counts 0").starts_with("error: "));
    }
}
