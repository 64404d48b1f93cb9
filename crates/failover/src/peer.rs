//! The second path: each router asks the others, apart from VRRP's own packets, whether they are
//! active. While one answers that it is, silence on the interface is no reason to claim.
//!
//! Datagrams of UDP. A question carries a number that its answer repeats, so that an old answer
//! means nothing. With a key both end with the first 16 bytes of HMAC-SHA-256 (RFC 2104) over what
//! stands before; without one with zeros.

use crate::machine::State;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const MAGIC: [u8; 4] = *b"MGV1";
const LENGTH: usize = 16 + 16;

/// The shortest time between two questions.
const OFTEN: Duration = Duration::from_millis(5);

/// The longest.
const SELDOM: Duration = Duration::from_millis(500);

/// A question, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The virtual router it is about.
    pub vrid: u8,
    /// Whether that is one of IPv6.
    pub ipv6: bool,
    /// The number of the question.
    pub number: u64,
    /// The state of who answers; none: a question.
    pub state: Option<State>,
}

/// What seals words.
pub type Key<'a> = Option<&'a [u8]>;

fn seal(bytes: &[u8], key: Key<'_>) -> [u8; 16] {
    let mut seal = [0; 16];
    // A key of any length is one (RFC 2104 section 2).
    if let Some(Ok(mut mac)) = key.map(Hmac::<Sha256>::new_from_slice) {
        mac.update(bytes);
        for (to, from) in seal.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
    }
    seal
}

impl Word {
    /// As bytes.
    pub fn encode(&self, key: Key<'_>) -> Vec<u8> {
        let state = match self.state {
            None => 0,
            Some(State::Initialize) => 1,
            Some(State::Backup) => 2,
            Some(State::Active) => 3,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend([self.vrid, u8::from(self.ipv6), state, 0]);
        bytes.extend(self.number.to_be_bytes());
        let seal = seal(&bytes, key);
        bytes.extend(seal);
        bytes
    }

    /// What bytes say; nothing when they are not ours. The seal is not looked at yet: the key
    /// depends on what it is about.
    pub fn decode(bytes: &[u8]) -> Option<Word> {
        let whole: &[u8; LENGTH] = bytes.try_into().ok()?;
        let (magic, rest) = whole.split_first_chunk::<4>()?;
        let ([vrid, family, state, 0], rest) = rest.split_first_chunk::<4>()? else {
            return None;
        };
        let (number, _) = rest.split_first_chunk::<8>()?;
        let state = match state {
            0 => None,
            1 => Some(State::Initialize),
            2 => Some(State::Backup),
            3 => Some(State::Active),
            _ => return None,
        };
        (*magic == MAGIC && *family < 2).then_some(Word {
            vrid: *vrid,
            ipv6: *family == 1,
            number: u64::from_be_bytes(*number),
            state,
        })
    }
}

/// Whether bytes are sealed with this key. Takes as long for a wrong seal as for the right one.
pub fn is_sealed(bytes: &[u8], key: Key<'_>) -> bool {
    let Some((said, sealed)) = bytes.split_at_checked(LENGTH - 16) else {
        return false;
    };
    let right = seal(said, key);
    let differing = right.iter().zip(sealed).fold(0, |d, (a, b)| d | (a ^ b));
    sealed.len() == right.len() && differing == 0
}

/// One `peer` of a section.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// The number of the last question.
    number: u64,
    /// When the next one is due.
    pub next: Instant,
    /// What it answered last, and when.
    pub answered: Option<(State, Instant)>,
}

impl Peer {
    /// Not asked yet.
    pub fn new(address: SocketAddr, now: Instant) -> Peer {
        let mut number = [0; 8];
        // SAFETY: the pointer and length describe `number`.
        let n = unsafe { libc::getrandom(number.as_mut_ptr().cast(), number.len(), 0) };
        debug_assert!(n == 8);
        Peer {
            address,
            number: u64::from_ne_bytes(number),
            next: now,
            answered: None,
        }
    }

    /// The number of the next question, which is due again twice in an interval.
    pub fn ask(&mut self, interval: Duration, now: Instant) -> u64 {
        self.next = now + (interval / 2).clamp(OFTEN, SELDOM);
        self.number = self.number.wrapping_add(1);
        self.number
    }

    /// Whether a number is that of a question asked lately.
    pub fn asked(&self, number: u64) -> bool {
        self.number.wrapping_sub(number) < 8
    }
}

/// How long an answer counts: as long as an advert would.
pub fn valid(interval: Duration) -> Duration {
    interval * 3
}

/// Opens the socket for peers of a family that are at a port; ours is the same.
pub fn open(ipv6: bool, port: u16) -> io::Result<UdpSocket> {
    let (domain, any): (Domain, IpAddr) = match ipv6 {
        true => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        false => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    if ipv6 {
        socket.set_only_v6(true)?;
    }
    // The process that this one replaces may have it still.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn word(state: Option<State>) -> Word {
        Word {
            vrid: 51,
            ipv6: false,
            number: 7,
            state,
        }
    }

    #[test]
    fn words_are_read_as_they_were_said() {
        let states = [State::Initialize, State::Backup, State::Active];
        for state in states.map(Some).into_iter().chain([None]) {
            for key in [None, Some(b"0123456789abcdef".as_slice())] {
                let bytes = word(state).encode(key);
                assert_eq!(Word::decode(&bytes), Some(word(state)));
                assert!(is_sealed(&bytes, key));
            }
        }
    }

    #[test]
    fn another_key_or_none_is_noticed() {
        let key = b"0123456789abcdef".as_slice();
        let other = b"0123456789abcdeF".as_slice();
        let bytes = word(None).encode(Some(key));
        assert!(!is_sealed(&bytes, Some(other)));
        assert!(!is_sealed(&bytes, None));
        assert!(!is_sealed(&word(None).encode(None), Some(key)));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(!is_sealed(&damaged, Some(key)), "{at}");
        }
    }

    #[test]
    fn old_answers_mean_nothing() {
        let now = Instant::now();
        let mut peer = Peer::new(([10, 9, 0, 2], 7112).into(), now);
        let first = peer.ask(Duration::from_millis(100), now);
        assert!(peer.asked(first) && !peer.asked(first.wrapping_add(1)));
        for _ in 0..8 {
            peer.ask(Duration::from_millis(100), now);
        }
        assert!(!peer.asked(first));
        assert_eq!(peer.next, now + Duration::from_millis(50));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..48)) {
            let _ = Word::decode(&bytes);
            is_sealed(&bytes, Some(b"key"));
        }
    }
}
