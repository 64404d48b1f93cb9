//! One frontend, its server and its log, through which cases run one after another.

use super::corpus::{Asked, Case, Then, shown};
use lab::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Silence after which nothing more is expected.
const QUIET: Duration = Duration::from_millis(200);
/// Longer than any timeout of the configuration.
const LONG: Duration = Duration::from_millis(1800);
/// The same where requests come byte by byte, which on a busy machine takes long.
const LONGER: Duration = Duration::from_millis(5000);

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PROBE: &[u8] = b"GET /after HTTP/1.1\r\nHost: x\r\n\r\n";

/// What the server answers to everything but the probe; `None` is the plain answer.
type Script = Option<(Vec<u8>, Asked, Then)>;

#[derive(Default)]
struct Shared {
    script: Script,
    /// The requests seen, as far as they came.
    seen: Vec<String>,
}

pub struct Lane {
    port: u16,
    server: SocketAddr,
    log: UdpSocket,
    shared: Arc<Mutex<Shared>>,
    /// Bound beside the proxy, so that the port is nobody else's; it never listens.
    _held: socket2::Socket,
}

/// Binds a free port such that the proxy can bind it, too.
fn hold_port() -> (socket2::Socket, u16) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("a shared port");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).expect("a port");
    let addr = socket.local_addr().expect("an address").as_socket();
    (socket, addr.expect("an address").port())
}

/// One frontend and backend for each lane. Who sends byte by byte needs longer on a busy machine.
pub fn config(lanes: &[Lane], sending: Sending) -> String {
    let (client, request) = if sending == Sending::Cut {
        ("4s", "3s")
    } else {
        ("900ms", "700ms")
    };
    let mut text = format!(
        "defaults\n    mode http\n    timeout client {client}\n    timeout server 1300ms\n    timeout connect 1s\n    timeout http-request {request}\n    http-reuse never\n",
    );
    for (i, lane) in lanes.iter().enumerate() {
        let log = lane.log.local_addr().expect("an address");
        text += &format!(
            "frontend f{i}\n    bind 127.0.0.1:{}\n    log {log} local0\n    log-format \"%ST/%ts\"\n    default_backend b{i}\nbackend b{i}\n    server s {}\n",
            lane.port, lane.server
        );
    }
    text
}

impl Lane {
    pub fn new() -> Lane {
        let listener = lab::listener();
        let server = listener.local_addr().expect("an address");
        let log = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        let (_held, port) = hold_port();
        Lane {
            port,
            _held,
            server,
            log,
            shared,
        }
    }

    /// Runs a case; its outcome in one line.
    pub fn run(&self, case: &Case, sending: Sending) -> String {
        {
            let mut shared = self.shared.lock().expect("unpoisoned");
            shared.seen.clear();
            shared.script = case
                .asked
                .map(|(asked, then)| (case.bytes.clone(), asked, then));
        }
        while !self.log_line(Duration::from_millis(1)).is_empty() {}
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        let _ = client.set_nodelay(true);
        let bytes = match case.asked {
            None => &case.bytes,
            Some((asked, _)) => request(asked),
        };
        // Whoever refuses early may close before all is sent.
        let _ = match sending {
            Sending::Whole => client.write_all(bytes),
            Sending::Cut => bytes.iter().try_for_each(|b| client.write_all(&[*b])),
            Sending::Pipelined => client.write_all(&[bytes, PROBE].concat()),
        };
        let patient = case.asked.is_some_and(|(_, then)| then == Then::Stall);
        let mut received = Vec::new();
        let first = if sending == Sending::Cut {
            LONGER
        } else {
            LONG
        };
        let after = if patient { LONG } else { QUIET };
        let mut ended = listen(&mut client, &mut received, first, after);
        let mut kept = false;
        let mut answer = received.len();
        if sending == Sending::Pipelined {
            // The server answers the probe plainly, whatever came before it.
            let rest = received.strip_suffix(PLAIN).map(<[u8]>::len);
            kept = rest.is_some() && self.saw_probe();
            answer = rest.filter(|_| kept).unwrap_or(answer);
        } else if ended == Ended::Quiet {
            let _ = client.write_all(PROBE);
            ended = listen(&mut client, &mut received, QUIET, QUIET);
            kept = received.len() > answer && received.ends_with(b"ok");
        }
        let state = match (kept, ended) {
            (true, _) => "kept",
            (_, Ended::Closed) => "closed",
            (_, Ended::Reset) => "reset",
            (_, Ended::Quiet) => "waits",
        };
        received.truncate(answer);
        drop(client);
        let statuses = statuses(&received);
        let mut logged = Vec::new();
        loop {
            let line = self.log_line(QUIET);
            if line.is_empty() {
                break;
            }
            logged.push(line);
            if logged.len() > statuses.len() + usize::from(kept) {
                break;
            }
        }
        if kept {
            logged.pop();
        }
        let mut seen = self.shared.lock().expect("unpoisoned").seen.clone();
        seen.retain(|r| !r.starts_with("GET /after "));
        let tail = match case.asked {
            None => seen.join(" & "),
            Some(_) => client_view(&received),
        };
        let text = format!(
            "{} {state} [{}] {tail}",
            statuses.join(" "),
            logged.join(" ")
        );
        text.trim().to_string()
    }

    fn saw_probe(&self) -> bool {
        let shared = self.shared.lock().expect("unpoisoned");
        shared.seen.iter().any(|r| r.starts_with("GET /after "))
    }

    fn log_line(&self, patience: Duration) -> String {
        let _ = self.log.set_read_timeout(Some(patience));
        let mut buffer = [0; 2048];
        let n = self.log.recv(&mut buffer).unwrap_or(0);
        let line = String::from_utf8_lossy(&buffer[..n]).trim_end().to_string();
        line.rsplit("]: ").next().unwrap_or("").to_string()
    }
}

/// How the client's bytes are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    Whole,
    /// One at a time.
    Cut,
    /// With the next request right behind.
    Pipelined,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Closed,
    Reset,
    Quiet,
}

/// Reads until the end or until it is quiet for so long at first, and so long after bytes.
fn listen(
    client: &mut TcpStream,
    received: &mut Vec<u8>,
    first: Duration,
    after: Duration,
) -> Ended {
    let mut buffer = [0; 65536];
    let mut patience = first;
    loop {
        let _ = client.set_read_timeout(Some(patience));
        match client.read(&mut buffer) {
            Ok(0) => return Ended::Closed,
            Ok(n) => received.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ended::Reset,
            Err(_) => return Ended::Quiet,
        }
        patience = after;
    }
}

fn request(asked: Asked) -> &'static [u8] {
    match asked {
        Asked::Get => b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        Asked::Head => b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
        Asked::HalfPost => b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        Asked::Connect => b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
        Asked::Upgrade => {
            b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n"
        }
        Asked::Old => b"GET /a HTTP/1.0\r\n\r\n",
        Asked::OldKept => b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    }
}

/// The status of each answer in what came.
fn statuses(received: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(received);
    let found = text.split("HTTP/1.").skip(1);
    found
        .filter_map(|rest| rest.get(2..5))
        .filter(|s| s.bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_string)
        .collect()
}

/// Answers as the client saw them; our own pages are not compared.
fn client_view(received: &[u8]) -> String {
    let text = String::from_utf8_lossy(received).into_owned();
    if text.contains("<html>") || text.is_empty() {
        return String::new();
    }
    let mut out = Vec::new();
    let mut rest = text.as_str();
    while rest.starts_with("HTTP/1.")
        && let Some((head, after)) = rest.split_once("\r\n\r\n")
    {
        out.push(head_line(head));
        rest = after;
    }
    if !rest.is_empty() {
        out.push(shown(rest.as_bytes()));
    }
    out.join(" || ")
}

/// A head in one line: the start line, then the fields, names in lower case, sorted.
fn head_line(head: &str) -> String {
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or("");
    let mut fields: Vec<String> = lines
        .map(|l| match l.split_once(':') {
            Some((name, value)) => format!("{}:{value}", name.to_ascii_lowercase()),
            None => l.to_string(),
        })
        .collect();
    fields.sort();
    let line = std::iter::once(start.to_string())
        .chain(fields)
        .collect::<Vec<_>>()
        .join(" | ");
    shown(line.as_bytes())
}

/// The server: reads strictly, keeps what it read, answers by the script.
fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = Vec::new();
    loop {
        let Some(head_end) = fill(&mut stream, &mut buffer, |b| {
            b.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
        }) else {
            if !buffer.is_empty() {
                keep(shared, format!("part of a head: {}", shown(&buffer)));
            }
            return;
        };
        let head: Vec<u8> = buffer.drain(..head_end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let probe = head.starts_with("GET /after ");
        let script = {
            let mut shared = shared.lock().expect("unpoisoned");
            if probe { None } else { shared.script.take() }
        };
        if let Some((answer, asked, then)) = script {
            if asked != Asked::HalfPost {
                let _ = read_body(&mut stream, &mut buffer, &head);
            }
            let _ = stream.write_all(&answer);
            match then {
                Then::Keep => {}
                Then::Close => {
                    // Nothing unread may be left, else the close becomes a reset.
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    std::thread::sleep(QUIET);
                    return;
                }
                Then::Reset => {
                    std::thread::sleep(Duration::from_millis(50));
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    return;
                }
                Then::Stall => {
                    std::thread::sleep(LONG);
                    return;
                }
            }
            continue;
        }
        let body = read_body(&mut stream, &mut buffer, &head);
        let text = head_line(head.trim_end_matches("\r\n"));
        match body {
            Some(body) if body.is_empty() => keep(shared, text),
            Some(body) => keep(shared, format!("{text} || {}", shown(&body))),
            None => {
                keep(
                    shared,
                    format!("{text} || part of a body: {}", shown(&buffer)),
                );
                return;
            }
        }
        if stream.write_all(PLAIN).is_err() {
            return;
        }
    }
}

fn keep(shared: &Mutex<Shared>, request: String) {
    shared.lock().expect("unpoisoned").seen.push(request);
}

/// The body that the head announces, framing included; `None` when it does not come whole.
fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
    let field = |name: &str| {
        head.lines().find_map(|l| {
            let (n, v) = l.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim().to_string())
        })
    };
    if field("transfer-encoding").is_some() {
        let end = fill(stream, buffer, chunks_end)?;
        return Some(buffer.drain(..end).collect());
    }
    let n = field("content-length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    fill(stream, buffer, |b| (b.len() >= n).then_some(n))?;
    Some(buffer.drain(..n).collect())
}

/// Where a chunked body ends: size lines of hexadecimal digits alone, CR LF everywhere.
fn chunks_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(at..at + line)?).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2;
        if size == 0 {
            loop {
                let line = bytes.get(at..)?.windows(2).position(|w| w == b"\r\n")?;
                at += line + 2;
                if line == 0 {
                    return Some(at);
                }
            }
        }
        at = at.checked_add(size)?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}

/// Reads until `done` finds the end.
fn fill(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    let mut chunk = [0; 65536];
    loop {
        if let Some(end) = done(buffer) {
            return Some(end);
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}
