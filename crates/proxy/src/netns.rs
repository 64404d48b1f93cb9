//! Sockets of other network namespaces (`namespace`).
//!
//! A socket belongs to the namespace its thread was in when it was made, for ever; so the thread
//! goes there, makes it, and comes back. That takes `CAP_SYS_ADMIN`.

use std::fs::File;
use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;

/// Where `ip netns` keeps the names (ip-netns(8)).
const NAMES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Runs `make` in the namespace of that name, or where the thread is.
pub fn within<T>(name: Option<&str>, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(name) = name else {
        return make();
    };
    let home = File::open("/proc/thread-self/ns/net")?;
    let away = NAMES
        .iter()
        .map(|folder| File::open(format!("{folder}/{name}")))
        .find(Result::is_ok)
        .unwrap_or_else(|| Err(io::Error::new(io::ErrorKind::NotFound, missing(name))))?;
    enter(&away)?;
    let made = make();
    if let Err(e) = enter(&home) {
        // Everything this thread did from here on would be in the wrong network.
        let _ = writeln!(
            io::stderr(),
            "cannot come back from network namespace '{name}': {e}"
        );
        std::process::abort();
    }
    made
}

fn missing(name: &str) -> String {
    format!("there is no network namespace '{name}': make it by 'ip netns add {name}'")
}

fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: plain call on a descriptor that `namespace` keeps open; it changes this thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
