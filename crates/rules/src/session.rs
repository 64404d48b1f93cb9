//! What is known of a connection, whatever comes on it. Every idle connection keeps one: it is small.

use crate::ctx::{TlsInfo, Wall};
use std::net::{SocketAddr, SocketAddrV4};
use std::num::NonZeroI32;
use std::sync::Arc;

/// The connection a request came on: fixed while it lasts.
#[derive(Clone, Debug, Default)]
pub struct SessionInfo {
    /// Its addresses.
    pub ends: Ends,
    /// Where it came in.
    pub listener: Arc<Listener>,
    /// When it was accepted.
    pub accepted: Wall,
    /// What TLS agreed on, if there is TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// Extensions of the PROXY header that the connection began with, if it did: type and value.
    #[allow(clippy::box_collection)] // one pointer, because most connections have none
    pub proxy_header: Option<Box<Vec<ProxyExtension>>>,
    /// The socket, where the kernel may be asked about it.
    pub descriptor: Option<Descriptor>,
    /// The number of the worker that serves it, from 0.
    pub worker: u16,
    /// Why it never became a session, as a number of [`crate::faults::NAMES`]; 0 is no fault.
    pub fault: u8,
}

/// An extension of a PROXY header: its type and its value.
pub type ProxyExtension = (u8, Vec<u8>);

/// A descriptor: four bytes, and no more where there may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(NonZeroI32);

impl Descriptor {
    /// Of this number; a negative one is none.
    pub fn new(number: i32) -> Option<Descriptor> {
        // Kept with all bits turned: of no descriptor that is zero.
        NonZeroI32::new(!number)
            .filter(|n| n.get() < 0)
            .map(Descriptor)
    }

    /// Its number.
    pub fn number(self) -> i32 {
        !self.0.get()
    }
}

/// A listening socket, as those who came in by it know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listener {
    /// Its frontend's name.
    pub frontend: Arc<str>,
    /// Its frontend's number.
    pub frontend_id: u32,
    /// Its name, empty when it has none.
    pub name: Arc<str>,
    /// Its number.
    pub id: u32,
}

/// The client's address and the one that it connected to; none on a UNIX socket.
///
/// In IPv4 both take the room of one: two of any kind are 64 bytes.
#[derive(Clone, Debug, Default)]
pub struct Ends(Kept);

#[derive(Clone, Debug, Default)]
enum Kept {
    #[default]
    Unknown,
    V4(SocketAddrV4, Option<SocketAddrV4>),
    Any(Box<(Option<SocketAddr>, Option<SocketAddr>)>),
}

impl Ends {
    /// These addresses.
    pub fn new(src: Option<SocketAddr>, dst: Option<SocketAddr>) -> Ends {
        Ends(match (src, dst) {
            (None, None) => Kept::Unknown,
            (Some(SocketAddr::V4(src)), None) => Kept::V4(src, None),
            (Some(SocketAddr::V4(src)), Some(SocketAddr::V4(dst))) => Kept::V4(src, Some(dst)),
            any => Kept::Any(Box::new(any)),
        })
    }

    /// The client's address.
    pub fn src(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kept::Unknown => None,
            Kept::V4(src, _) => Some((*src).into()),
            Kept::Any(any) => any.0,
        }
    }

    /// The address that it connected to.
    pub fn dst(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kept::Unknown => None,
            Kept::V4(_, dst) => dst.map(SocketAddr::from),
            Kept::Any(any) => any.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were() {
        let four = Some(SocketAddr::from(([192, 0, 2, 7], 40_000)));
        let six = Some(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 80)));
        for src in [None, four, six] {
            for dst in [None, four, six] {
                let ends = Ends::new(src, dst);
                assert_eq!((ends.src(), ends.dst()), (src, dst));
            }
        }
    }

    #[test]
    fn a_descriptor_is_a_number_that_is_not_negative() {
        for number in [0, 1, i32::MAX] {
            assert_eq!(
                Descriptor::new(number).map(Descriptor::number),
                Some(number)
            );
        }
        for number in [-1, i32::MIN] {
            assert_eq!(Descriptor::new(number), None);
        }
    }

    #[test]
    fn what_each_connection_keeps_is_small() {
        assert_eq!(size_of::<Ends>(), 16);
        assert_eq!(size_of::<SessionInfo>(), 64);
    }
}
