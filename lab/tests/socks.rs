//! Servers behind a SOCKS proxy (`socks4`), the same through mulgil and through the oracle. The proxy
//! is the test's own.

use lab::{Folder, PATIENCE, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A SOCKS proxy of version 4 that leads every address to 127.0.0.1, to the port that was asked for.
/// To 192.0.2.1 it says no, to 192.0.2.2 something else, to 192.0.2.3 nothing; that to 192.0.2.4 comes
/// in pieces, with the server's first bytes right behind it. Whoever asks for 192.0.2.5 is reset.
struct Socks {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<(SocketAddr, String)>>>,
}

impl Socks {
    fn start() -> Socks {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Socks { addr, asked }
    }

    /// Who was asked for, and on whose behalf.
    fn asked(&self) -> Vec<(SocketAddr, String)> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

fn serve(mut client: TcpStream, kept: &Mutex<Vec<(SocketAddr, String)>>) -> Option<()> {
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    client.set_nodelay(true).ok()?;
    let mut head = [0; 8];
    client.read_exact(&mut head).ok()?;
    if head[7] == 5 {
        // What is left unread makes the end a reset.
        let to = SocketAddr::from(([192, 0, 2, 5], 0));
        kept.lock().expect("unpoisoned").push((to, String::new()));
        client.peek(&mut [0]).ok()?;
        return None;
    }
    let mut user = Vec::new();
    let mut byte = [0];
    loop {
        client.read_exact(&mut byte).ok()?;
        match byte[0] {
            0 => break,
            b => user.push(b),
        }
    }
    let [4, 1, high, low, a, b, c, d] = head else {
        return None;
    };
    let port = u16::from_be_bytes([high, low]);
    let to = SocketAddr::from(([a, b, c, d], port));
    let user = String::from_utf8_lossy(&user).into_owned();
    kept.lock().expect("unpoisoned").push((to, user));
    let answer = |code: u8| [0, code, 1, 2, 3, 4, 5, 6];
    match d {
        1 => return client.write_all(&answer(91)).ok(),
        2 => return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok(),
        3 => return None,
        _ => {}
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    match d {
        4 => {
            let mut first = [0; 5];
            server.read_exact(&mut first).ok()?;
            let [head @ .., last] = answer(90);
            for piece in [&head[..3], &head[3..], &[&[last][..], &first].concat()] {
                client.write_all(piece).ok()?;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        _ => client.write_all(&answer(90)).ok()?,
    }
    let (mut from, mut to) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let _ = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Write);
    Some(())
}

const TIMES: &str = "defaults\n    timeout client 5s\n    timeout server 5s\n    timeout connect 9s\n    retries 0\n";

#[test]
fn a_server_is_reached_through_its_proxy_and_the_proxys_word_is_told() {
    each(|program| {
        let (server, socks, door) = (Server::named("s"), Socks::start(), port());
        let at = server.addr.port();
        let proxy = socks.addr;
        let text = format!(
            "{TIMES}    mode http\nfrontend f\n    bind 127.0.0.1:{door}\n    use_backend %[path,field(2,/)]\n    \
             http-after-response set-header x-end \"%[bc_err] %[bc_err_str] %[bc_dst]:%[bc_dst_port]\"\n\
             backend good\n    server s 192.0.2.9:{at} socks4 {proxy}\n\
             backend no\n    server s 192.0.2.1:{at} socks4 {proxy}\n\
             backend odd\n    server s 192.0.2.2:{at} socks4 {proxy}\n\
             backend silent\n    server s 192.0.2.3:{at} socks4 {proxy}\n\
             backend nobody\n    server s 192.0.2.9:{at} socks4 127.0.0.1:{}\n",
            lab::refusing()
        );
        let _proxy = Proxy::start(program, &text);
        let answer = get(door, "/good");
        assert_eq!(answer.header("x-server").as_deref(), Some("s"));
        let end = format!("0 Success 192.0.2.9:{at}");
        assert_eq!(answer.header("x-end"), Some(end), "{}", program.name);
        for (path, wanted) in [
            ("/no", "41 SOCKS4 Proxy deny the request "),
            ("/odd", "41 SOCKS4 Proxy deny the request "),
            ("/silent", "40 SOCKS4 Proxy read error during handshake "),
        ] {
            let answer = get(door, path);
            assert_eq!(answer.status, 503, "{}: {path}", program.name);
            let end = answer.header("x-end").unwrap_or_default();
            assert!(end.starts_with(wanted), "{}: {path}: {end}", program.name);
        }
        // Where nobody listens there is no word; of what was connected to we say nothing then.
        let answer = get(door, "/nobody");
        assert_eq!(answer.status, 503, "{}", program.name);
        let nothing = match program.name {
            "mulgil" => ":".to_string(),
            _ => format!("192.0.2.9:{at}"),
        };
        assert_eq!(answer.header("x-end"), Some(nothing), "{}", program.name);
        let users: Vec<String> = socks.asked().into_iter().map(|(_, user)| user).collect();
        let user = if program.name == "mulgil" {
            "Mulgil"
        } else {
            "HAProxy"
        };
        assert_eq!(users, [user; 4]);
        assert_eq!(server.requests().len(), 1, "{}", program.name);
    });
}

#[test]
fn a_proxy_that_resets_is_told_as_such_and_left_for_another() {
    each(|program| {
        let (server, socks, door, bytes) = (Server::named("s"), Socks::start(), port(), port());
        let (at, proxy) = (server.addr.port(), socks.addr);
        let text = format!(
            "{TIMES}frontend f\n    mode http\n    bind 127.0.0.1:{door}\n    use_backend %[path,field(2,/)]\n    \
             http-after-response set-header x-end \"%[bc_err] %[bc_err_str]\"\n\
             backend plain\n    mode http\n    server s 192.0.2.5:{at} socks4 {proxy}\n\
             backend tls\n    mode http\n    server s 192.0.2.5:{at} socks4 {proxy} ssl verify none\n\
             listen bytes\n    mode tcp\n    bind 127.0.0.1:{bytes}\n    retries 2\n    option redispatch\n    \
             server resets 192.0.2.5:{at} socks4 {proxy}\n    server s 192.0.2.9:{at} socks4 {proxy}\n"
        );
        let _proxy = Proxy::start(program, &text);
        for path in ["/plain", "/tls"] {
            let answer = get(door, path);
            assert_eq!(answer.status, 503, "{}: {path}", program.name);
            let end = answer.header("x-end").unwrap_or_default();
            assert_eq!(
                end, "42 SOCKS4 Proxy handshake aborted by server",
                "{}: {path}",
                program.name
            );
        }
        let answer = get(bytes, "/");
        let by = answer.header("x-server");
        assert_eq!(by.as_deref(), Some("s"), "{}", program.name);
        assert_eq!(socks.asked().len(), 4, "{}", program.name);
    });
}

#[test]
fn a_kept_connection_is_not_used_again_where_another_way_leads_to_the_server() {
    let (server, door) = (Server::named("s"), port());
    let (before, after) = (Socks::start(), Socks::start());
    let at = server.addr.port();
    let config = |socks: &Socks| {
        format!(
            "{TIMES}    mode http\n    http-reuse always\nlisten l\n    bind 127.0.0.1:{door}\n    \
             server s 192.0.2.9:{at} socks4 {}\n",
            socks.addr
        )
    };
    let proxy = Proxy::start(&Program::mulgil(), &config(&before));
    // One connection of a client is served by one worker, whose connections it finds again.
    let mut client = lab::Client::connect(door);
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.ask(request).status, 200);
    }
    assert_eq!(before.asked().len(), 1);
    let text = std::fs::read_to_string(&proxy.file).expect("the file");
    let global = text.split("defaults").next().expect("a global section");
    std::fs::write(&proxy.file, format!("{global}{}", config(&after))).expect("written");
    proxy.signal("-HUP");
    proxy.wait_for_output("is in force");
    assert_eq!(client.ask(request).status, 200);
    assert_eq!((before.asked().len(), after.asked().len()), (1, 1));
}

#[test]
fn bytes_behind_the_proxys_word_are_the_servers() {
    each(|program| {
        let (origin, socks, door) = (
            TcpListener::bind("127.0.0.1:0").expect("a port"),
            Socks::start(),
            port(),
        );
        let at = origin.local_addr().expect("an address").port();
        let text = format!(
            "{TIMES}    mode tcp\nlisten l\n    bind 127.0.0.1:{door}\n    server s 192.0.2.4:{at} socks4 {}\n",
            socks.addr
        );
        let _proxy = Proxy::start(program, &text);
        let mut client = lab::Client::connect(door);
        let (mut server, _) = origin.accept().expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).expect("set");
        server.write_all(b"hello and more").expect("sent");
        let mut got = [0; 14];
        client.stream.read_exact(&mut got).expect("a greeting");
        assert_eq!(&got, b"hello and more", "{}", program.name);
        client.send("question");
        let mut asked = [0; 8];
        server.read_exact(&mut asked).expect("a question");
        assert_eq!(&asked, b"question", "{}", program.name);
    });
}

#[test]
fn a_header_and_tls_come_behind_the_proxy() {
    each(|program| {
        let (socks, door, inner) = (Socks::start(), port(), port());
        let folder = Folder::new();
        let (cert, key) = (folder.path("cert"), folder.path("key"));
        let made = lab::real::run(
            "openssl",
            &[
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x",
                "-keyout", &key, "-out", &cert,
            ],
        );
        assert_eq!(made.0, 0, "{}", made.1);
        let both = [cert, key]
            .map(|f| std::fs::read(f).expect("made"))
            .concat();
        let pem = folder.file("site.pem", &both);
        let text = format!(
            "{TIMES}    mode http\nlisten l\n    bind 127.0.0.1:{door}\n    \
             server s 192.0.2.9:{inner} socks4 {} send-proxy ssl verify none\n\
             frontend inner\n    bind 127.0.0.1:{inner} accept-proxy ssl crt {pem}\n    \
             http-request return status 200 hdr x-from \"%[src]:%[dst_port]\"\n",
            socks.addr
        );
        let _proxy = Proxy::start(program, &text);
        let answer = get(door, "/");
        let from = format!("127.0.0.1:{door}");
        assert_eq!(answer.header("x-from"), Some(from), "{}", program.name);
    });
}

#[test]
fn checks_go_through_the_proxy_where_that_is_asked_for() {
    each(|program| {
        let (server, socks) = (Server::named("s"), Socks::start());
        let at = server.addr.port();
        let text = format!(
            "{TIMES}    mode http\n    timeout check 5s\nbackend b\n    default-server check inter 100ms fall 1 rise 1 socks4 {}\n    \
             server direct 127.0.0.1:{at}\n    \
             server through 192.0.2.9:{at} check-via-socks4\n    \
             server refused 192.0.2.1:{at} check-via-socks4\n    \
             server silent 192.0.2.3:{at} check-via-socks4\n    \
             server resets 192.0.2.5:{at} check-via-socks4\n\
             backend rules\n    option httpchk\n    http-check connect via-socks4 port {at}\n    \
             http-check send meth GET uri /\n    http-check expect status 200\n    \
             server s 192.0.2.9:1 check inter 100ms socks4 {}\n",
            socks.addr, socks.addr
        );
        let proxy = Proxy::start(program, &text);
        for (name, state, status) in [
            ("direct", "UP", "L4OK"),
            ("through", "UP", "L4OK"),
            ("refused", "DOWN", "SOCKERR"),
            ("silent", "DOWN", "SOCKERR"),
            ("resets", "DOWN", "SOCKERR"),
        ] {
            proxy.wait_for("b", name, "check_status", status);
            proxy.wait_for("b", name, "status", state);
        }
        proxy.wait_for("rules", "s", "check_status", "L7OK");
        // The oracle says with it what the system said last, of another connection even.
        let end = std::time::Instant::now() + PATIENCE;
        let why = || proxy.stat("b", "refused", "last_chk");
        while !why().starts_with("SOCKS4 Proxy deny the request") {
            assert!(
                std::time::Instant::now() < end,
                "{}: {}",
                program.name,
                why()
            );
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let asked = socks.asked();
        assert!(
            asked.iter().all(|(to, _)| !to.ip().is_loopback()),
            "{}: {asked:?}",
            program.name
        );
    });
}

#[test]
fn what_a_proxy_cannot_lead_to_is_refused() {
    let folder = Folder::new();
    for (mode, words, wanted) in [
        (
            "tcp",
            "127.0.0.1:1 socks4 127.0.0.1",
            "is not where a SOCKS proxy could be",
        ),
        ("tcp", "127.0.0.1:1 socks4", "'socks4' wants ADDRESS:PORT"),
        (
            "tcp",
            "[::1]:1 socks4 127.0.0.1:2",
            "which version 4 of SOCKS does not know",
        ),
        (
            "http",
            "/tmp/x socks4 127.0.0.1:2",
            "is no Internet address",
        ),
        ("udp", "127.0.0.1:1 socks4 127.0.0.1:2", "is for streams"),
        (
            "ftp",
            "127.0.0.1:1 socks4 127.0.0.1:2",
            "could not go that way",
        ),
        (
            "tcp",
            "127.0.0.1:1 check check-via-socks4",
            "has no effect without 'socks4'",
        ),
        (
            "tcp\n    option icmp-check",
            "127.0.0.1:1 check check-via-socks4 socks4 127.0.0.1:2",
            "which no SOCKS proxy passes on",
        ),
    ] {
        let text = format!("{TIMES}backend b\n    mode {mode}\n    server s {words}\n");
        let file = folder.file("a.cfg", text.as_bytes());
        let (_, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(said.contains(wanted), "{mode} {words}: {said}");
    }
}
