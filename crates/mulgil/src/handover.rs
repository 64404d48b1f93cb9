//! Taking listening sockets over from a process that is to be replaced (`-x`, and `expose-fd
//! listeners` of its control socket).
//!
//! What goes over the wire is ours alone: HAProxy's manual does not describe its own form, so
//! sockets pass between two of us only. The old process says how many there are and their
//! addresses, a line each, and then sends a byte with each socket.

use crate::descriptors;
use proxy::Listeners;
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The command that asks for them.
pub const COMMAND: &str = "_getsocks";

const GREETING: &str = "mulgil sockets ";

/// Sockets by their addresses, as `bind` lines write them.
pub type Sockets = HashMap<String, OwnedFd>;

/// Hands over the listeners to whoever asked on `socket`.
pub fn give(socket: BorrowedFd<'_>, listeners: &Listeners) -> io::Result<()> {
    let all: Vec<(String, &OwnedFd)> = listeners.sockets().collect();
    let mut text = format!("{GREETING}{}\n", all.len());
    for (address, _) in &all {
        text.push_str(address);
        text.push('\n');
    }
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let sent = descriptors::send(socket, rest, &[])?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    for (_, fd) in all {
        descriptors::send(socket, b".", &[fd.as_fd()])?;
    }
    Ok(())
}

/// Asks the process behind a control socket for its listeners.
pub fn take(path: &str) -> Result<Sockets, String> {
    let failed = |e: io::Error| format!("'-x {path}': {e}");
    let mut stream = UnixStream::connect(path).map_err(failed)?;
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience).map_err(failed)?;
    stream
        .write_all(format!("{COMMAND}\n").as_bytes())
        .map_err(failed)?;
    // Read byte by byte: bytes that come with sockets must not be read ahead.
    let mut lines = BufReader::with_capacity(1, &stream);
    let mut line = || {
        let mut text = String::new();
        let limited = lines.by_ref().take(4096).read_line(&mut text);
        limited.map(|_| text.trim_end().to_string()).map_err(failed)
    };
    let count = line()?;
    let count = count.strip_prefix(GREETING).and_then(|n| n.parse().ok());
    let Some(count): Option<usize> = count.filter(|n| *n < 100_000) else {
        return Err(format!(
            "'-x {path}': the process there does not hand over its sockets: it must be a mulgil \
             whose 'stats socket' line has 'expose-fd listeners' (HAProxy's own form of handing \
             over is not documented)"
        ));
    };
    let addresses: Vec<String> = (0..count).map(|_| line()).collect::<Result<_, _>>()?;
    let mut sockets = Sockets::new();
    for address in addresses {
        let (n, mut fds) = descriptors::receive(stream.as_fd(), &mut [0]).map_err(failed)?;
        match fds.pop() {
            Some(fd) if n == 1 => sockets.insert(address, fd),
            _ => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
        };
    }
    Ok(sockets)
}
