//! The address that clients know, with the servers of the moment behind it.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Forwards connections; those that are there stay with the server they have.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<SocketAddr>,
    taken: usize,
    /// Both ends of what is forwarded, and where to.
    open: Vec<(SocketAddr, TcpStream, TcpStream)>,
}

impl Front {
    /// Begins to listen, on a free port of the loopback address.
    pub fn start() -> io::Result<Arc<Self>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let front = Arc::new(Self { address, state: Mutex::default() });
        let serving = Arc::clone(&front);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let front = Arc::clone(&serving);
                thread::spawn(move || front.serve(client));
            }
        });
        Ok(front)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New connections go to these servers in turn; to none: they are closed.
    pub fn set(&self, targets: Vec<SocketAddr>) {
        self.state().targets = targets;
    }

    /// Ends the connections to servers that are no targets any more.
    pub fn sever(&self) {
        let mut state = self.state();
        let State { targets, open, .. } = &mut *state;
        open.retain(|(target, client, server)| {
            let stays = targets.contains(target);
            if !stays {
                let _ = client.shutdown(Shutdown::Both);
                let _ = server.shutdown(Shutdown::Both);
            }
            stays
        });
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut state = self.state();
        state.taken += 1;
        let count = state.targets.len();
        if count == 0 { None } else { Some(state.targets[state.taken % count]) }
    }

    fn serve(&self, client: TcpStream) {
        let _ = self.forward(client);
    }

    fn forward(&self, client: TcpStream) -> io::Result<()> {
        let Some(target) = self.next() else { return Ok(()) };
        let server = TcpStream::connect_timeout(&target, CONNECT_WITHIN)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        self.state().open.push((target, client.try_clone()?, server.try_clone()?));
        let back = (server.try_clone()?, client.try_clone()?);
        let number = client.peer_addr()?;
        let up = thread::spawn(move || carry(&back.0, &back.1));
        carry(&client, &server);
        let _ = up.join();
        let is_this = |open: &TcpStream| open.peer_addr().is_ok_and(|peer| peer == number);
        self.state().open.retain(|(_, client, _)| client.peer_addr().is_ok() && !is_this(client));
        Ok(())
    }
}

/// Carries one direction to its end.
fn carry(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
