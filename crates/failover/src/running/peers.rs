//! The second path in the loop: questions go out, answers and questions come in.

use super::{BURST, Running};
use crate::machine::Machine;
use crate::peer::{self, Word};
use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

/// A socket of the second path: for peers of a family at a port.
pub struct Path {
    pub socket: UdpSocket,
    ipv6: bool,
    port: u16,
}

impl Running {
    /// One socket for each family and port that peers are at.
    pub(super) fn open_paths(&mut self) {
        let peers = self.instances.iter().flat_map(|i| &i.vrrp.peers);
        let mut wanted: Vec<(bool, u16)> = peers.map(|p| (p.is_ipv6(), p.port())).collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.paths.retain(|p| wanted.contains(&(p.ipv6, p.port)));
        for (ipv6, port) in wanted {
            if self.paths.iter().any(|p| (p.ipv6, p.port) == (ipv6, port)) {
                continue;
            }
            match peer::open(ipv6, port) {
                Ok(socket) => self.paths.push(Path { socket, ipv6, port }),
                Err(e) => (self.say)(&format!(
                    "error: vrrp: cannot open UDP port {port} for peers: {e}; there is no second path"
                )),
            }
        }
    }

    /// When the next question is due.
    pub(super) fn ask_due(&self) -> Option<Instant> {
        let peers = self.instances.iter().flat_map(|i| &i.peers);
        peers.map(|p| p.next).min()
    }

    /// Asks the peers whose turn it is.
    pub(super) fn ask_peers(&mut self, now: Instant) {
        for instance in &mut self.instances {
            let vrrp = &instance.vrrp;
            for peer in instance.peers.iter_mut().filter(|p| p.next <= now) {
                let word = Word {
                    vrid: vrrp.vrid,
                    ipv6: vrrp.is_ipv6(),
                    number: peer.ask(vrrp.interval, now),
                    state: None,
                };
                let bytes = word.encode(vrrp.peer_key.as_ref().map(|k| &*k.0));
                send(&self.paths, &bytes, peer.address);
            }
        }
    }

    /// Reads what has come over the second path.
    pub(super) fn hear_peers(&mut self, now: Instant) {
        let mut all: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        for path in &self.paths {
            let mut buffer = [0; 64];
            for _ in 0..BURST {
                let Ok((n, from)) = path.socket.recv_from(&mut buffer) else {
                    break;
                };
                all.push((from, buffer.get(..n).unwrap_or_default().to_vec()));
            }
        }
        for (from, bytes) in all {
            self.hear_peer(from, &bytes, now);
        }
        self.router.settle(now);
    }

    fn hear_peer(&mut self, from: SocketAddr, bytes: &[u8], now: Instant) {
        let Some(word) = Word::decode(bytes) else {
            return;
        };
        let members = self.instances.iter_mut().zip(&mut self.router.members);
        for (instance, member) in members {
            let vrrp = &instance.vrrp;
            if (vrrp.vrid, vrrp.is_ipv6()) != (word.vrid, word.ipv6) {
                continue;
            }
            let Some(peer) = instance.peers.iter_mut().find(|p| p.address == from) else {
                continue;
            };
            let key = vrrp.peer_key.as_ref().map(|k| &*k.0);
            if !peer::is_sealed(bytes, key) {
                instance.counters.peer_answers.1 += 1;
                let line = format!(
                    "what comes from peer {from} is not sealed with our key: give both the same 'peer-key'"
                );
                if instance.may_say(&line, now) {
                    (self.say)(&format!("error: vrrp {}: {line}", instance.vrrp.name));
                }
                return;
            }
            match word.state {
                None => {
                    let answer = Word {
                        state: Some(member.machine.state()),
                        ..word
                    };
                    send(&self.paths, &answer.encode(key), from);
                }
                Some(state) if peer.asked(word.number) => {
                    instance.counters.peer_answers.0 += 1;
                    peer.answered = Some((state, now));
                    tell(&mut member.machine, from, state, vrrp.interval, now);
                }
                Some(_) => instance.counters.peer_answers.1 += 1,
            }
            return;
        }
    }
}

fn tell(
    machine: &mut Machine,
    from: SocketAddr,
    state: crate::machine::State,
    interval: std::time::Duration,
    now: Instant,
) {
    let active = state == crate::machine::State::Active;
    machine.peer_says(from.ip(), active, peer::valid(interval), now);
}

/// Sends over the path that leads there. A path that is down is silence.
fn send(paths: &[Path], bytes: &[u8], to: SocketAddr) {
    let path = paths
        .iter()
        .find(|p| (p.ipv6, p.port) == (to.is_ipv6(), to.port()));
    if let Some(path) = path {
        let _ = path.socket.send_to(bytes, to);
    }
}
