//! Datagrams of many clients in one call: `recvmmsg` and `sendmmsg`.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::RawFd;

/// Datagrams in one call at most.
pub const MOST: usize = 64;
/// Room for each.
const ROOM: usize = 2048;

/// Datagrams with the address of each one's client, which the kernel reads and writes in place.
pub struct Batch {
    rooms: Vec<[u8; ROOM]>,
    names: Vec<libc::sockaddr_in>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    held: usize,
}

impl Batch {
    /// An empty one.
    pub fn new() -> Batch {
        // SAFETY: all-zero addresses, vectors and headers are valid.
        let (name, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        let mut batch = Batch {
            rooms: vec![[0; ROOM]; MOST],
            names: vec![name; MOST],
            vectors: vec![vector; MOST],
            headers: vec![header; MOST],
            held: 0,
        };
        let parts = batch.rooms.iter_mut().zip(&mut batch.names);
        let slots = batch.headers.iter_mut().zip(&mut batch.vectors);
        for ((room, name), (header, vector)) in parts.zip(slots) {
            // None of these moves as long as the batch lives: the vectors never grow.
            vector.iov_base = room.as_mut_ptr().cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
        }
        batch
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.held
    }

    /// One of them: its bytes and its client.
    pub fn get(&self, at: usize) -> Option<(&[u8], &libc::sockaddr_in)> {
        let length = self.headers.get(at)?.msg_len as usize;
        Some((self.rooms.get(at)?.get(..length)?, self.names.get(at)?))
    }

    /// Takes what came to a socket from any client.
    pub fn receive(&mut self, fd: RawFd) -> io::Result<()> {
        self.held = 0;
        for (header, vector) in self.headers.iter_mut().zip(&mut self.vectors) {
            vector.iov_len = ROOM;
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        let (headers, flags) = (self.headers.as_mut_ptr(), libc::MSG_DONTWAIT);
        let timeout = std::ptr::null_mut();
        // SAFETY: there are `MOST` headers, which point at memory of `self` with its true lengths.
        let n = unsafe { libc::recvmmsg(fd, headers, MOST as u32, flags as _, timeout) };
        match usize::try_from(n) {
            Ok(n) => self.held = n,
            Err(_) => return not_now(),
        }
        Ok(())
    }

    /// Reads one datagram of a connected socket into it, which is to go to this client; whether
    /// there was one.
    pub fn read(&mut self, fd: RawFd, client: libc::sockaddr_in) -> io::Result<bool> {
        let at = self.held;
        let places = self.rooms.get_mut(at).zip(self.names.get_mut(at));
        let Some((room, name)) = places else {
            return Ok(false);
        };
        let (to, flags) = (room.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
        // SAFETY: pointer and length describe `room`.
        let n = unsafe { libc::recv(fd, to, ROOM, flags) };
        let Ok(n) = usize::try_from(n) else {
            return not_now().map(|()| false);
        };
        *name = client;
        if let Some((header, vector)) = self.headers.get_mut(at).zip(self.vectors.get_mut(at)) {
            vector.iov_len = n;
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        self.held += 1;
        Ok(true)
    }

    /// Sends what it holds, each to its client; what cannot be sent is lost.
    pub fn send(&mut self, fd: RawFd) {
        let mut at = 0;
        while let Some(rest) = self.headers.get_mut(at..self.held)
            && !rest.is_empty()
        {
            let (headers, count) = (rest.as_mut_ptr(), rest.len() as u32);
            // SAFETY: as in `receive`; the number is that of `rest`.
            let n = unsafe { libc::sendmmsg(fd, headers, count, libc::MSG_DONTWAIT as _) };
            at += usize::try_from(n).unwrap_or(1).max(1);
        }
        self.held = 0;
    }
}

/// Nothing came, or the news of something that was lost: none of them is an error here.
fn not_now() -> io::Result<()> {
    match io::Error::last_os_error() {
        e if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
        e if e.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        e => Err(e),
    }
}
