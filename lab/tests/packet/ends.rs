//! Clients and servers of the tests.
#![allow(dead_code)] // each test file uses its part

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::time::Duration;

/// How long a client waits for more.
const PATIENCE: Duration = Duration::from_secs(8);

/// How long a server waits for a client that says nothing: longer than any test leaves one idle.
const IDLE: Duration = Duration::from_secs(120);

/// Bytes each way of a whole conversation.
pub const MUCH: usize = 5 << 20;

/// What both sides send: computed once, as code that is not optimised takes longer for it than the network.
fn bytes(count: usize) -> &'static [u8] {
    static ALL: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..MUCH).map(|at| (at * 31 + at / 251) as u8).collect());
    &ALL[..count]
}

/// A server that takes all that a client sends, and then says its name, who it sees, how much came
/// and whether it was what should have come, and sends as much back.
pub fn serve_tcp(at: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(at).expect("binds");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, name));
        }
    });
}

fn answer(mut stream: TcpStream, name: &str) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    stream.set_write_timeout(Some(IDLE)).ok()?;
    let peer = stream.peer_addr().ok()?;
    let mut got = 0;
    let mut right = true;
    let mut buffer = vec![0; 65536];
    loop {
        let n = stream.read(&mut buffer).ok()?;
        if n == 0 {
            break;
        }
        right &= got + n <= MUCH && buffer[..n] == bytes(got + n)[got..];
        got += n;
    }
    writeln!(stream, "{name} {peer} {got} {right}").ok()?;
    stream.write_all(bytes(got.min(MUCH))).ok()?;
    stream.shutdown(Shutdown::Write).ok()
}

/// A server of HTTP that sends each body back, with its name in a field.
pub fn serve_http(at: SocketAddr, name: &'static str) {
    let listener = TcpListener::bind(at).expect("binds");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || return_body(stream, name));
        }
    });
}

fn return_body(mut stream: TcpStream, name: &str) -> Option<()> {
    stream.set_read_timeout(Some(IDLE)).ok()?;
    stream.set_write_timeout(Some(IDLE)).ok()?;
    let mut got = Vec::new();
    let mut buffer = vec![0; 65536];
    loop {
        let end = got
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map(|at| at + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|l| l.split("\r\n").next()?.parse().ok());
            let length: usize = length.unwrap_or(0);
            while got.len() < end + length {
                let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
                got.extend_from_slice(&buffer[..n]);
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(&got[end..]).ok()?;
            return stream.shutdown(Shutdown::Write).ok();
        }
        let n = stream.read(&mut buffer).ok().filter(|n| *n > 0)?;
        got.extend_from_slice(&buffer[..n]);
    }
}

/// Sends 5 MB by curl and gets them back, as an address says them before a port.
pub fn curl(net: &crate::net::Net, host: &str, address: &str) {
    let folder = lab::Folder::new();
    let sent = bytes(MUCH);
    let (up, down) = (folder.file("up", sent), folder.path("down"));
    let command = format!("curl -sSg -m 30 -H Expect: -T {up} -o {down} http://{address}:8000/");
    net.exec(host, &command);
    let back = std::fs::read(&down).expect("a file");
    assert!(back == sent, "{address}: {} bytes came back", back.len());
}

/// What a server said: its name and the client as it saw it.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    pub name: String,
    pub client: SocketAddr,
}

/// The largest segment that a client may send to a server.
pub fn largest_segment(to: SocketAddr) -> std::io::Result<u32> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    socket2::SockRef::from(&stream).tcp_mss()
}

/// What a client's machine has learnt that packets to a server may be as large as: it sends datagrams
/// that must not be cut, until somebody on the way says that they do not fit. One of `least` bytes
/// with its headers does, and is answered.
pub fn path_mtu(to: SocketAddr, least: usize) -> std::io::Result<u32> {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = udp(any.parse().expect("an address"), to);
    let (level, discover, mtu) = match to.is_ipv6() {
        true => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_MTU),
        false => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_MTU),
    };
    let headers = if to.is_ipv6() { 48 } else { 28 };
    // Both families have the same number for "never cut, and heed what is said".
    let always = libc::IP_PMTUDISC_DO;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value of the size given.
    let set = unsafe {
        let value = (&raw const always).cast();
        libc::setsockopt(socket.as_raw_fd(), level, discover, value, size)
    };
    if set != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let mut known: libc::c_int = 1500;
    for _ in 0..100 {
        // That it does not fit is an error of the socket's next call.
        let _ = socket.send(&vec![1; 1500 - headers]);
        std::thread::sleep(Duration::from_millis(50));
        let mut size = size;
        // SAFETY: the pointers are to live values, the size is that of the first.
        let got = unsafe {
            let value = (&raw mut known).cast();
            libc::getsockopt(socket.as_raw_fd(), level, mtu, value, &raw mut size)
        };
        if got != 0 {
            return Err(std::io::Error::last_os_error());
        }
        if known < 1500 {
            break;
        }
    }
    for _ in 0..20 {
        // What is left of the errors comes first.
        if ask(&socket, &vec![2; least - headers]).is_ok() {
            return Ok(known as u32);
        }
    }
    Err(std::io::Error::other(format!(
        "{known} is known, and {least} is not answered"
    )))
}

/// A whole conversation of so many bytes each way, `MUCH` at most.
pub fn talk(to: SocketAddr, count: usize) -> std::io::Result<Heard> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent = bytes(count);
    stream.write_all(sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    let end = back.iter().position(|b| *b == b'\n').unwrap_or(0);
    let line = String::from_utf8_lossy(&back[..end]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(
        words.get(2..),
        Some(&[count.to_string().as_str(), "true"][..]),
        "{line}"
    );
    assert!(
        back[end + 1..] == *sent,
        "what came back is not what was sent"
    );
    Ok(Heard {
        name: words[0].into(),
        client: words[1].parse().expect("an address"),
    })
}

/// A server that counts to each client, for as long as it listens.
pub fn serve_numbers(at: SocketAddr) {
    let listener = TcpListener::bind(at).expect("binds");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                for number in 0u64.. {
                    if stream.write_all(&number.to_be_bytes()).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        }
    });
}

/// What such a server counts to, and how far it has come.
pub struct Numbers {
    stream: TcpStream,
    next: u64,
}

impl Numbers {
    /// Listens from the first one on.
    pub fn of(to: SocketAddr) -> std::io::Result<Numbers> {
        let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Numbers { stream, next: 0 })
    }

    /// So many more come, in their order.
    pub fn go_on(&mut self, count: u64) -> std::io::Result<()> {
        for _ in 0..count {
            let mut number = [0; 8];
            self.stream.read_exact(&mut number)?;
            assert_eq!(u64::from_be_bytes(number), self.next);
            self.next += 1;
        }
        Ok(())
    }
}

/// A server that sends datagrams back with its name before them.
pub fn serve_udp(at: SocketAddr, name: &'static str) {
    let socket = UdpSocket::bind(at).expect("binds");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let back = [name.as_bytes(), b" ", &buffer[..n]].concat();
            let _ = socket.send_to(&back, from);
        }
    });
}

/// A client's socket.
pub fn udp(from: SocketAddr, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(from).expect("binds");
    socket.connect(to).expect("connects");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    socket
}

/// Sends a datagram, waits for the answer: who gave it. What answers an earlier one, late, is passed over.
pub fn ask(socket: &UdpSocket, data: &[u8]) -> std::io::Result<String> {
    socket.send(data)?;
    let mut buffer = vec![0; 65536];
    loop {
        let n = socket.recv(&mut buffer)?;
        let name = buffer[..n].strip_suffix(data);
        if let Some(name) = name.and_then(|n| n.strip_suffix(b" ")) {
            return Ok(String::from_utf8_lossy(name).into_owned());
        }
    }
}
