//! Streams in memory, and threads that serve them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a server holds, and its faults.
#[derive(Default)]
pub(crate) struct Store {
    /// Bodies by stream, as they came.
    pub(crate) streams: BTreeMap<String, Vec<Vec<u8>>>,
    /// Every so many appends one is refused.
    pub(crate) refuses_every: Option<u64>,
    /// The body at this place of a stream is kept from its followers.
    pub(crate) hides: Option<usize>,
    /// Appends so far, with those refused.
    pub(crate) appends: u64,
}

impl Store {
    /// Takes a body, or refuses it.
    pub(crate) fn append(&mut self, name: &str, body: &[u8]) -> bool {
        self.appends += 1;
        if self.refuses_every.is_some_and(|every| self.appends.is_multiple_of(every)) {
            return false;
        }
        self.streams.entry(name.to_owned()).or_default().push(body.to_vec());
        true
    }
}

pub(crate) type Shared = Arc<Mutex<Store>>;

/// A server; its threads end with the process.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    store: Shared,
}

impl Fake {
    pub(crate) fn body_bytes(&self) -> u64 {
        let store = self.store.lock().unwrap();
        store.streams.values().flatten().map(|body| body.len() as u64).sum()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.store.lock().unwrap().streams.keys().cloned().collect()
    }
}

/// Serves each connection on a thread of its own.
pub(crate) fn serve(store: Store, connection: fn(TcpStream, &Shared) -> Option<()>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let store = Arc::new(Mutex::new(store));
    let shared = Arc::clone(&store);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let shared = Arc::clone(&shared);
            // A connection that ends in any way is over: nobody is told.
            std::thread::spawn(move || connection(stream, &shared));
        }
    });
    Fake { address, store }
}

/// What follows the first `seen` bodies of a stream, with their places; waits for it, but not for
/// longer than `limit`.
pub(crate) fn after(
    store: &Shared,
    name: &str,
    seen: usize,
    limit: Duration,
) -> Vec<(usize, Vec<u8>)> {
    let deadline = Instant::now() + limit;
    loop {
        let store = store.lock().unwrap();
        let bodies = store.streams.get(name).map_or(&[][..], Vec::as_slice);
        if bodies.len() > seen || Instant::now() >= deadline {
            return bodies.iter().cloned().enumerate().skip(seen).collect();
        }
        drop(store);
        sleep(Duration::from_millis(2));
    }
}
