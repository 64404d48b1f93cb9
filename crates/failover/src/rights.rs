//! What the thread may do when the process gives up its privileges (capabilities(7)).

use std::io;

/// CAP_NET_ADMIN and CAP_NET_RAW: addresses, raw sockets.
const KEPT: u32 = 1 << 12 | 1 << 13;

/// SECBIT_NO_SETUID_FIXUP: a change of user leaves capabilities as they are.
const NO_SETUID_FIXUP: libc::c_ulong = 1 << 2;

/// _LINUX_CAPABILITY_VERSION_3: sets of 64 bits, in two halves.
const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Set {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether the calling thread has the rights that failover needs.
pub fn may_act() -> bool {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Set::default(); 2];
    // SAFETY: it reads a header, of which it may change the version, and writes two sets, as the version says.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut sets) };
    done == 0 && sets[0].effective & KEPT == KEPT
}

/// Has the calling thread keep its rights when the process changes its user. All of them, at
/// first: the C library changes the user of every thread, and ends the process if one cannot.
pub fn keep() -> io::Result<()> {
    // SAFETY: plain call, for the calling thread only.
    match unsafe { libc::prctl(libc::PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reduces the calling thread's rights to those that failover needs, for good. Programs that it
/// starts get none of them.
pub fn reduce() -> io::Result<()> {
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [Set::default(); 2];
    sets[0].effective = KEPT;
    sets[0].permitted = KEPT;
    // SAFETY: it reads a header and two sets, as the version says, and changes the calling thread
    // only.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const sets) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
