//! Passing descriptors between processes over UNIX sockets (unix(7), `SCM_RIGHTS`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Descriptors that one message may carry; the kernel takes up to 253.
pub const MOST: usize = 64;

/// Room for the control message, suitably aligned for its header.
#[repr(C, align(8))]
struct Room([u8; 512]);

/// Sends bytes, at least one, with descriptors. Returns how many bytes were taken.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if bytes.is_empty() || fds.len() > MOST {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let size = size_of_val(raw.as_slice());
    let mut room = Room([0; 512]);
    let mut vector = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: an all-zero msghdr is valid; every pointer in it is to a variable that outlives the
    // call; MOST descriptors and their header fit into `Room`; sendmsg does not write to the bytes.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        if !raw.is_empty() {
            message.msg_control = room.0.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size as u32) as usize;
            std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(header), size);
        }
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives bytes and descriptors. No bytes: the other side has closed.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = Room([0; 512]);
    let mut vector = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let mut fds = Vec::new();
    // SAFETY: as for `send`; after a successful call the control messages lie inside `Room`, which
    // the macros walk by the lengths that the kernel wrote; each descriptor in them is new and ours.
    let received = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = room.0.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Room>();
        let received = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while received >= 0 && !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let size = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<i32>();
                for at in 0..size / size_of::<i32>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
        received
    };
    match usize::try_from(received) {
        Ok(n) => Ok((n, fds)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_passes_with_its_bytes() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let (mut one, other) = UnixStream::pair().expect("a pair");
        let sent = send(here.as_fd(), b"x", &[other.as_fd()]).expect("sent");
        assert_eq!(sent, 1);
        drop(other);
        let mut bytes = [0; 8];
        let (n, mut fds) = receive(there.as_fd(), &mut bytes).expect("received");
        assert_eq!((n, bytes[0], fds.len()), (1, b'x', 1));
        let mut passed = UnixStream::from(fds.remove(0));
        one.write_all(b"through").expect("written");
        drop(one);
        let mut text = String::new();
        passed.read_to_string(&mut text).expect("read");
        assert_eq!(text, "through");
        drop(here);
        assert_eq!(receive(there.as_fd(), &mut bytes).expect("closed").0, 0);
    }
}
