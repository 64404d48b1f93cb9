//! Log lines on their way out: syslog over UDP or UNIX sockets, or plain lines on descriptors.

use model::{Address, LogFormatKind, LogLevel, LogSetting, LogTarget};
use rules::Wall;
use rules::digits::decimal;
use std::cell::RefCell;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// What every line says of its sender.
#[derive(Clone, Debug)]
pub struct Tag {
    /// The program's name.
    pub name: Arc<str>,
    /// The machine's name, if lines carry it.
    pub hostname: Option<Arc<str>>,
    /// The machine's name for formats that must carry it.
    pub own_hostname: Arc<str>,
    /// The process's number.
    pub pid: u32,
    /// The local time zone at a moment (Unix seconds).
    pub zone: fn(i64) -> rules::Zone,
}

enum Sink {
    Udp(UdpSocket, SocketAddr),
    Unix(UnixDatagram, Arc<str>),
    Fd(RawFd),
    /// Could not be opened; lines for it are lost, as with syslog that is down.
    Nowhere,
}

struct Open {
    target: LogTarget,
    sink: Sink,
}

/// Where the lines of one thread go.
pub struct Logger {
    tag: Tag,
    sinks: RefCell<Vec<Open>>,
    line: RefCell<Vec<u8>>,
    /// A second and what RFC 3164 calls it.
    stamp: RefCell<(i64, Vec<u8>)>,
    counter: std::cell::Cell<u32>,
    /// Lines that could not be sent.
    dropped: std::cell::Cell<u64>,
}

/// A worker's.
pub type LogSinks = Logger;

impl Logger {
    /// Nothing is opened before the first line.
    pub fn new(tag: Tag) -> Logger {
        Logger {
            tag,
            sinks: RefCell::default(),
            line: RefCell::default(),
            stamp: RefCell::new((i64::MIN, Vec::new())),
            counter: std::cell::Cell::new(0),
            dropped: std::cell::Cell::new(0),
        }
    }

    /// Sends one message to every setting that wants its level; `data` is what RFC 5424 (section 6.3)
    /// calls structured data, for settings of that format.
    pub fn send(
        &self,
        settings: &[Arc<LogSetting>],
        tag: Option<&str>,
        level: LogLevel,
        now: Wall,
        message: &[u8],
        data: &[u8],
    ) {
        for setting in settings {
            if level > setting.level {
                continue;
            }
            if let Some((ranges, size)) = &setting.sample {
                let n = self.counter.get() % size + 1;
                self.counter.set(self.counter.get().wrapping_add(1));
                if !ranges.iter().any(|(low, high)| (*low..=*high).contains(&n)) {
                    continue;
                }
            }
            let level = level.max(setting.min_level);
            let mut line = self.line.borrow_mut();
            line.clear();
            self.frame(
                setting,
                tag.unwrap_or(&self.tag.name),
                level,
                now,
                data,
                &mut line,
            );
            line.extend_from_slice(message);
            line.truncate(setting.max_len.saturating_sub(1));
            line.push(b'\n');
            self.write(&setting.target, &line);
        }
    }

    fn frame(
        &self,
        setting: &LogSetting,
        tag: &str,
        level: LogLevel,
        now: Wall,
        data: &[u8],
        out: &mut Vec<u8>,
    ) {
        let severity = level as u32;
        let priority = u32::from(setting.facility.0) * 8 + severity;
        let pid = self.tag.pid;
        // RFC 5424 wants a colon in the offset.
        let precise = || {
            let zone = (self.tag.zone)(now.secs);
            let micros = (i64::from(now.micros), 1_000_000);
            let date = rules::strftime(b"%FT%T.%N%z", now.secs, micros, &zone);
            let mut date = String::from_utf8_lossy(&date).into_owned();
            date.insert(date.len() - 2, ':');
            date
        };
        let _ = match setting.format {
            LogFormatKind::Raw => Ok(()),
            LogFormatKind::Short => write!(out, "<{severity}>"),
            LogFormatKind::Priority => write!(out, "<{priority}>"),
            LogFormatKind::Timed => write!(out, "<{severity}>{} ", precise()),
            LogFormatKind::Iso => write!(out, "{} ", precise()),
            LogFormatKind::Rfc5424 => {
                let (date, host) = (precise(), &self.tag.own_hostname);
                let written = write!(out, "<{priority}>1 {date} {host} {tag} {pid} - ");
                // What only sets how values are written leaves blanks before them.
                let data = data.trim_ascii();
                out.extend_from_slice(if data.is_empty() { b"-" } else { data });
                out.push(b' ');
                written
            }
            LogFormatKind::Rfc3164 | LogFormatKind::Local => {
                out.push(b'<');
                decimal(priority, out);
                out.push(b'>');
                self.stamp(now.secs, out);
                if let (Some(host), LogFormatKind::Rfc3164) = (&self.tag.hostname, setting.format) {
                    out.extend_from_slice(host.as_bytes());
                    out.push(b' ');
                }
                out.extend_from_slice(tag.as_bytes());
                out.push(b'[');
                decimal(pid, out);
                out.extend_from_slice(b"]: ");
                Ok(())
            }
        };
    }

    /// Appends the date as RFC 3164 has it, and a space. It is the same for a whole second.
    fn stamp(&self, secs: i64, out: &mut Vec<u8>) {
        let mut stamp = self.stamp.borrow_mut();
        if stamp.0 != secs {
            let zone = (self.tag.zone)(secs);
            *stamp = (secs, rules::strftime(b"%b %e %T ", secs, (0, 1), &zone));
        }
        out.extend_from_slice(&stamp.1);
    }

    fn write(&self, target: &LogTarget, line: &[u8]) {
        let mut sinks = self.sinks.borrow_mut();
        let at = match sinks.iter().position(|o| o.target == *target) {
            Some(at) => at,
            None => {
                sinks.push(Open {
                    target: target.clone(),
                    sink: open(target),
                });
                sinks.len() - 1
            }
        };
        // A line that cannot be sent is lost: logging must never hold up traffic.
        let sent = match sinks.get(at).map(|o| &o.sink) {
            Some(Sink::Udp(socket, to)) => socket.send_to(line, to).is_ok(),
            Some(Sink::Unix(socket, path)) => socket.send_to(line, &**path).is_ok(),
            // SAFETY: the pointer and length describe `line`; a bad descriptor gives EBADF.
            Some(Sink::Fd(fd)) => unsafe {
                libc::write(*fd, line.as_ptr().cast(), line.len()) >= 0
            },
            Some(Sink::Nowhere) | None => false,
        };
        if !sent {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Lines that could not be sent.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

fn open(target: &LogTarget) -> Sink {
    let nonblocking = |socket: UdpSocket, to| {
        let _ = socket.set_nonblocking(true);
        Sink::Udp(socket, to)
    };
    match target {
        LogTarget::Stdout => Sink::Fd(1),
        LogTarget::Stderr => Sink::Fd(2),
        LogTarget::Address(Address::Fd(fd)) => Sink::Fd(*fd),
        LogTarget::Address(Address::Unix { path, .. }) => match UnixDatagram::unbound() {
            Ok(socket) => {
                let _ = socket.set_nonblocking(true);
                Sink::Unix(socket, Arc::clone(path))
            }
            Err(_) => Sink::Nowhere,
        },
        LogTarget::Address(address) => {
            let Some(to) = address.socket() else {
                return Sink::Nowhere;
            };
            let any: SocketAddr = if to.is_ipv4() {
                ([0, 0, 0, 0], 0).into()
            } else {
                ([0u16; 8], 0).into()
            };
            UdpSocket::bind(any).map_or(Sink::Nowhere, |socket| nonblocking(socket, to))
        }
    }
}
