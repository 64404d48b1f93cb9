//! Kernel pipes, through which bodies pass without being copied.
//!
//! A pipe is taken for one splice and given back when the receiver has taken all of it; as long as
//! the receiver is slow, it stays with the body. Each has two descriptors and keeps what is inside
//! in the kernel's memory, so that there is a limit: bodies past it are copied.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;

/// What one splice may move at most, bytes.
pub const PIPE_SIZE: usize = 512 * 1024;

/// How many empty pipes are kept.
const SPARES: usize = 8;

/// One pipe.
pub struct Pipe {
    /// Read end.
    pub out: OwnedFd,
    /// Write end.
    pub into: OwnedFd,
    /// Bytes inside.
    pub held: usize,
    /// How many there are of its worker's.
    open: Rc<Cell<usize>>,
}

impl Pipe {
    /// A new, empty, non-blocking one.
    fn new(open: &Rc<Cell<usize>>) -> io::Result<Pipe> {
        let mut fds = [0; 2];
        // SAFETY: `fds` has room for the two descriptors, which are owned from here on.
        unsafe {
            if libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) != 0 {
                return Err(io::Error::last_os_error());
            }
            open.set(open.get() + 1);
            let pipe = Pipe {
                out: OwnedFd::from_raw_fd(fds[0]),
                into: OwnedFd::from_raw_fd(fds[1]),
                held: 0,
                open: Rc::clone(open),
            };
            // A larger pipe is a gain, not a need: an unprivileged limit may refuse it.
            libc::fcntl(fds[1], libc::F_SETPIPE_SZ, PIPE_SIZE as libc::c_int);
            Ok(pipe)
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.set(self.open.get().saturating_sub(1));
    }
}

/// The pipes of one worker.
#[derive(Default)]
pub struct Pipes {
    spares: RefCell<Vec<Pipe>>,
    open: Rc<Cell<usize>>,
}

impl Pipes {
    /// An empty pipe, unless `most` are in use or the system has none left.
    pub fn take(&self, most: usize) -> Option<Pipe> {
        if let Some(spare) = self.spares.borrow_mut().pop() {
            return Some(spare);
        }
        if self.open.get() >= most {
            return None;
        }
        Pipe::new(&self.open).ok()
    }

    /// Gives a pipe back; one that still holds bytes is closed.
    pub fn give_back(&self, pipe: Pipe) {
        let mut spares = self.spares.borrow_mut();
        if pipe.held == 0 && spares.len() < SPARES {
            spares.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_pipes_than_there_may_be_and_empty_ones_are_used_again() {
        let pipes = Pipes::default();
        let first = pipes.take(2).expect("one");
        let mut second = pipes.take(2).expect("another");
        assert!(pipes.take(2).is_none());
        pipes.give_back(first);
        let first = pipes.take(2).expect("the first again");
        assert!(pipes.take(2).is_none());
        // What is still inside would reach the next receiver.
        second.held = 1;
        pipes.give_back(second);
        assert!(pipes.spares.borrow().is_empty());
        assert!(pipes.take(2).is_some());
        drop(first);
    }
}
