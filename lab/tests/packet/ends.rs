//! Clients and servers of the tests.
#![allow(dead_code)] // each test file uses its part

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(8);

/// Bytes each way of a whole conversation.
pub const MUCH: usize = 5 << 20;

fn byte(at: usize) -> u8 {
    (at * 31 + at / 251) as u8
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
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let peer = stream.peer_addr().ok()?;
    let mut got = 0;
    let mut right = true;
    let mut buffer = vec![0; 65536];
    loop {
        let n = stream.read(&mut buffer).ok()?;
        if n == 0 {
            break;
        }
        right &= buffer[..n]
            .iter()
            .enumerate()
            .all(|(i, b)| *b == byte(got + i));
        got += n;
    }
    writeln!(stream, "{name} {peer} {got} {right}").ok()?;
    let back: Vec<u8> = (0..got).map(byte).collect();
    stream.write_all(&back).ok()?;
    stream.shutdown(Shutdown::Write).ok()
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

/// A whole conversation of so many bytes each way.
pub fn talk(to: SocketAddr, bytes: usize) -> std::io::Result<Heard> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let sent: Vec<u8> = (0..bytes).map(byte).collect();
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    let end = back.iter().position(|b| *b == b'\n').unwrap_or(0);
    let line = String::from_utf8_lossy(&back[..end]).into_owned();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(
        words.get(2..),
        Some(&[bytes.to_string().as_str(), "true"][..]),
        "{line}"
    );
    assert!(
        back[end + 1..] == sent,
        "what came back is not what was sent"
    );
    Ok(Heard {
        name: words[0].into(),
        client: words[1].parse().expect("an address"),
    })
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

/// Sends a datagram, waits for the answer: who gave it.
pub fn ask(socket: &UdpSocket, data: &[u8]) -> std::io::Result<String> {
    socket.send(data)?;
    let mut buffer = vec![0; 65536];
    let n = socket.recv(&mut buffer)?;
    let space = buffer[..n].iter().position(|b| *b == b' ').unwrap_or(0);
    assert_eq!(&buffer[space + 1..n], data);
    Ok(String::from_utf8_lossy(&buffer[..space]).into_owned())
}
