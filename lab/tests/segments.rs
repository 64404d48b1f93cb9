//! How many segments of TCP a request takes, counted by the ends' own systems.

use lab::{PATIENCE, Proxy, each, port};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// How many segments have come in on a connection (`tcpi_segs_in` of linux/tcp.h).
fn segments(stream: &TcpStream) -> u32 {
    let mut info = [0u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: value and length describe `info`.
    unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let field = info[140..144].try_into().expect("four bytes");
    u32::from_ne_bytes(field)
}

/// The next connection.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("an option");
    let end = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
                return stream;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(e) => panic!("no connection: {e}"),
        }
    }
}

/// One request with these fields, answered: how many segments the server had by then, and how many the
/// client had after the answer, and after the end where it is to come.
fn exchange(listen: u16, origin: &TcpListener, fields: &str) -> (u32, u32) {
    let mut client = TcpStream::connect(("127.0.0.1", listen)).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    client.write_all(request.as_bytes()).expect("sent");
    let mut server = accept(origin);
    let mut head = [0u8; 1024];
    let mut have = 0;
    while !head[..have].ends_with(b"\r\n\r\n") {
        let n = server.read(&mut head[have..]).expect("read");
        assert!(n > 0, "the request was cut off");
        have += n;
    }
    let at_server = segments(&server);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    server.write_all(answer).expect("sent");
    let mut got = Vec::new();
    let mut byte = [0u8; 256];
    while !(got.ends_with(b"\r\n\r\nok") && fields.is_empty()) {
        match client.read(&mut byte).expect("read") {
            0 => break,
            n => got.extend_from_slice(&byte[..n]),
        }
    }
    assert!(got.ends_with(b"\r\n\r\nok"), "{got:?}");
    (at_server, segments(&client))
}

/// Tries again where the system had to send something twice.
fn comes_true(what: &str, holds: impl Fn() -> bool) {
    assert!((0..200).any(|_| holds()), "{what}");
}

#[test]
fn a_connection_takes_no_more_segments_than_it_must() {
    each(|program| {
        let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = origin.local_addr().expect("an address");
        let start = |options: &str| {
            let listen = port();
            let text = format!(
                "defaults\n    mode http\n    timeout client 10s\n    timeout connect 10s\n    \
                 timeout server 10s\nlisten f\n    bind 127.0.0.1:{listen}\n    {options}\n    \
                 server s {at}\n"
            );
            (Proxy::start(program, &text), listen)
        };
        let (_plain, plain) = start("no option tcp-smart-accept\n    no option tcp-smart-connect");
        let (_smart, smart) = start("option tcp-smart-accept");
        // The answer acknowledges the request.
        let fewer = |(fewer, more): (u32, u32)| fewer + 1 == more;
        comes_true(program.name, || {
            let client = |listen| exchange(listen, &origin, "").1;
            fewer((client(smart), client(plain)))
        });
        // The oracle needs a segment more in each of these.
        if program.name == "mulgil" {
            // The request comes with the packet that ends the handshake.
            comes_true("to the server", || {
                let server = |listen| exchange(listen, &origin, "").0;
                fewer((server(smart), server(plain)))
            });
            // The end comes with the answer's last bytes.
            comes_true("at the end", || {
                let client = |fields| exchange(smart, &origin, fields).1;
                client("") == client("Connection: close\r\n")
            });
        }
    });
}
