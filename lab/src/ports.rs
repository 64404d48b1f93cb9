//! Ports of the loopback that nobody else is given.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;

/// Below those that the kernel gives away itself (`ip_local_port_range`), so that no connection and no
/// listener on port 0 ever takes one.
const FIRST: u16 = 26_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 120;

/// What is left of the block that this process has.
struct Block {
    next: u16,
    end: u16,
    /// A name for each block that was ever ours. Nobody else can have it in the same network namespace,
    /// and it goes with the process, however that ends.
    held: Vec<UnixDatagram>,
}

static OURS: Mutex<Block> = Mutex::new(Block {
    next: 0,
    end: 0,
    held: Vec::new(),
});

/// A port of the loopback. No other call returns it, in this process or in another
/// that runs at the same time: listeners that share their port (`SO_REUSEPORT`, as proxies do) would
/// not notice that they are two.
pub fn port() -> u16 {
    ports(1)
}

/// The first of so many ports in a row, at most [`BLOCK`], of which the same holds.
pub fn ports(count: u16) -> u16 {
    let mut block = OURS.lock().expect("nobody panics here");
    loop {
        while block.next + count <= block.end {
            let first = block.next;
            block.next += count;
            if (first..block.next).all(is_free) {
                return first;
            }
        }
        block.another();
    }
}

/// A listener on such a port: when it is closed, nobody else listens there.
pub fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", port())).expect("a port that is free")
}

/// Whether nobody listens there. The socket that tries it does not listen: a program that is started at
/// this moment may hold it for longer than we do, and it must be in nobody's way.
fn is_free(port: u16) -> bool {
    use socket2::{Domain, Socket, Type};
    let at: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    Socket::new(Domain::IPV4, Type::STREAM, None).is_ok_and(|socket| {
        socket.set_reuse_address(true).is_ok() && socket.bind(&at.into()).is_ok()
    })
}

impl Block {
    fn another(&mut self) {
        // Processes that run one after another begin at different places: what one has just closed may
        // have connections that wait for their end.
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        let (n, name) = (0..BLOCKS)
            .map(|n| (start + n) % BLOCKS)
            .find_map(|n| {
                let name = SocketAddr::from_abstract_name(format!("lab-ports-{n}")).ok()?;
                Some((n, UnixDatagram::bind_addr(&name).ok()?))
            })
            .expect("a block of ports that nobody has");
        self.held.push(name);
        self.next = FIRST + n * BLOCK;
        self.end = self.next + BLOCK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_port_is_given_twice() {
        let threads: Vec<_> = (0..4)
            .map(|_| std::thread::spawn(|| (0..60).map(|_| port()).collect::<Vec<u16>>()))
            .collect();
        let mut seen = HashSet::new();
        for thread in threads {
            for port in thread.join().expect("ports") {
                assert!((FIRST..FIRST + BLOCK * BLOCKS).contains(&port));
                assert!(seen.insert(port), "{port} twice");
            }
        }
    }
}
