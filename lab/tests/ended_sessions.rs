//! Sessions that end before their time. Those that somebody else ends, an operator or what happens to
//! their server, are over at once, wherever they wait, and though both ends stay silent. Where one side
//! fails, the other is not told that all was well.

use lab::{Folder, LogSink, PATIENCE, Program, Proxy, Server, each, port};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Nothing ends by a timeout here. The request is there when its connection is accepted.
fn config(mode: &str, door: u16, sink: &LogSink, more: &str) -> String {
    format!(
        "defaults\n    mode {mode}\n    timeout client 1h\n    timeout server 1h\n    timeout connect 1h\n    timeout queue 1h\n    \
         log 127.0.0.1:{} local0\n    log-format \"over %ts\"\n\
         frontend f\n    bind 127.0.0.1:{door} defer-accept\n    default_backend b\nbackend b\n{more}",
        sink.port
    )
}

/// The state of the session at its end.
fn flags(sink: &LogSink) -> String {
    let line = sink.line("over ");
    let flags = line.split("over ").nth(1);
    flags.expect("flags").trim_end().to_string()
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// The next connection to a server, which need not come.
fn accept(origin: &TcpListener) -> TcpStream {
    origin.set_nonblocking(true).expect("set");
    let mut accepted = None;
    lab::net::until("a connection comes", || {
        accepted = origin.accept().ok();
        accepted.is_some()
    });
    let (stream, _) = accepted.expect("a connection");
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Reads until this has come.
fn hear(stream: &mut TcpStream, last: &str) {
    let mut said = Vec::new();
    while !said.ends_with(last.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("more");
        said.push(byte[0]);
    }
}

/// Closing will reset the connection.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .expect("set");
}

/// What an operator, or a server's fault, may do.
const ENDS: [&str; 3] = [
    "shutdown session",
    "shutdown sessions server b/s",
    "set server b/s health down",
];

/// Ends all sessions of the frontend.
fn end(proxy: &Proxy, how: &str) {
    if how != ENDS[0] {
        proxy.control(how);
        return;
    }
    let list = proxy.control("show sess");
    let mut ids = list.lines().filter(|l| l.contains(" fe=f "));
    let id = ids.next().and_then(|l| l.split(':').next());
    let id = id.unwrap_or_else(|| panic!("no session: {list}"));
    proxy.control(&format!("{how} {id}"));
}

#[test]
fn tunnels_and_stalled_exchanges_end_though_both_ends_are_silent() {
    let asks = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let begins = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi";
    // What is asked, what is answered, and the last of it that the client hears.
    let stalls = [
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 101 On\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhi",
            "hi",
        ),
        (
            "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhi",
            "hi",
        ),
        (asks, "", ""),
        (asks, begins, "hi"),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhi",
            "",
            "",
        ),
    ];
    each(|program| {
        let (origin, health) = (lab::listener(), Server::named("health"));
        let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
        let server = format!(
            "    server s {addr} check port {} inter 1h on-marked-down shutdown-sessions\n",
            health.addr.port()
        );
        let proxy = Proxy::start(program, &config("http", door, &sink, &server));
        for (asked, answered, heard) in stalls {
            for how in ENDS {
                let what = format!("{}: {asked:?}, {answered:?}, {how}", program.name);
                let mut client = connect(door);
                client.write_all(asked.as_bytes()).expect("sent");
                let mut server = accept(&origin);
                hear(&mut server, asked.rsplit("\r\n").next().unwrap_or(""));
                server.write_all(answered.as_bytes()).expect("sent");
                hear(&mut client, heard);
                proxy.wait_for("b", "s", "scur", "1");
                end(&proxy, how);
                let wanted = if how == ENDS[2] { 'D' } else { 'K' };
                assert!(flags(&sink).starts_with(wanted), "{what}");
                proxy.wait_for("b", "s", "scur", "0");
                proxy.control("set server b/s health up");
                drop((client, server));
            }
        }
    });
}

#[test]
fn who_waits_for_a_server_or_for_a_place_on_one_waits_no_more() {
    // The oracle goes on waiting in some of these.
    let program = &Program::mulgil();
    let (origin, dead) = (lab::listener(), lab::refusing());
    let addr = origin.local_addr().expect("an address");
    let ask = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    // Places on the server, and where it is.
    let cases = [
        ("http", "maxconn 1", addr),
        ("tcp", "maxconn 1", addr),
        ("http", "", SocketAddr::from(([127, 0, 0, 1], dead))),
        ("tcp", "", SocketAddr::from(([127, 0, 0, 1], dead))),
    ];
    for (mode, limit, addr) in cases {
        let (door, sink) = (port(), LogSink::new());
        // One that is not there is asked again and again.
        let lines = format!("    retries 1000\n    server s {addr} {limit}\n");
        let proxy = Proxy::start(program, &config(mode, door, &sink, &lines));
        let before = (!limit.is_empty()).then(|| {
            let mut first = connect(door);
            first.write_all(ask).expect("sent");
            proxy.wait_for("b", "s", "scur", "1");
            first
        });
        let mut client = connect(door);
        client.write_all(ask).expect("sent");
        proxy.wait_for(
            "b",
            "BACKEND",
            "scur",
            if before.is_some() { "2" } else { "1" },
        );
        let list = proxy.control("show sess");
        let from = client.local_addr().expect("an address").to_string();
        let ours = list.lines().find(|l| l.contains(&from));
        let id = ours.and_then(|l| l.split(':').next()).expect("a session");
        proxy.control(&format!("shutdown session {id}"));
        let flags = flags(&sink);
        assert!(flags.starts_with('K'), "{mode} {limit}: {flags}");
        drop((before, client));
    }
}

#[test]
fn a_reset_is_noticed_while_a_body_stalls() {
    // The oracle notices it with the next bytes.
    let program = &Program::mulgil();
    let origin = lab::listener();
    let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
    let server = format!("    server s {addr}\n");
    let proxy = Proxy::start(program, &config("http", door, &sink, &server));
    let mut client = connect(door);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("sent");
    let mut server = accept(&origin);
    hear(&mut server, "\r\n\r\n");
    server
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")
        .expect("sent");
    hear(&mut client, "hi");
    reset(client);
    assert_eq!(flags(&sink), "CD");
    proxy.wait_for("b", "s", "scur", "0");
}

#[test]
fn a_login_to_a_silent_server_of_files_ends() {
    let program = &Program::mulgil();
    let origin = lab::listener();
    let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
    let server = format!("    server s {addr}\n");
    for how in &ENDS[..2] {
        let proxy = Proxy::start(
            program,
            &config("ftp", door, &sink, &server).replace(" defer-accept", ""),
        );
        let mut client = connect(door);
        hear(&mut client, "\r\n");
        client.write_all(b"USER alice\r\n").expect("sent");
        let mut server = accept(&origin);
        server.write_all(b"220 hello\r\n").expect("sent");
        hear(&mut server, "USER alice\r\n");
        server.write_all(b"331 and?\r\n").expect("sent");
        hear(&mut client, "331 and?\r\n");
        client.write_all(b"PASS x\r\n").expect("sent");
        hear(&mut server, "PASS x\r\n");
        client.shutdown(Shutdown::Write).expect("shut");
        end(&proxy, how);
        assert_eq!(flags(&sink), "KD");
        proxy.wait_for("b", "s", "scur", "0");
    }
}

/// What a client asks for, and what its server says, when bytes are on their way to the server.
const UPLOADS: [(&str, &str, &str, &str); 4] = [
    ("tcp", "hi", "", ""),
    (
        "http",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhi",
        "",
        "",
    ),
    (
        "http",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 On\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "\r\n\r\n",
    ),
    (
        "http",
        "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "\r\n\r\n",
    ),
];

#[test]
fn a_server_does_not_take_what_a_failed_client_said_for_all() {
    each(|program| {
        for (mode, asked, answered, heard) in UPLOADS {
            let origin = lab::listener();
            let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
            let server = format!("    server s {addr}\n");
            let _proxy = Proxy::start(program, &config(mode, door, &sink, &server));
            for fails in [true, false] {
                let mut client = connect(door);
                client.write_all(asked.as_bytes()).expect("sent");
                let mut server = accept(&origin);
                hear(&mut server, asked.rsplit("\r\n").next().unwrap_or(""));
                server.write_all(answered.as_bytes()).expect("sent");
                hear(&mut client, heard);
                let what = format!("{}: {mode}, {asked:?}, fails: {fails}", program.name);
                if fails {
                    reset(client);
                } else if asked.starts_with("POST") {
                    // Half a message is no whole one, however its connection ends.
                    continue;
                } else {
                    client.shutdown(Shutdown::Write).expect("shut");
                }
                let rest = server.read_to_end(&mut Vec::new());
                assert_eq!(rest.is_err(), fails, "{what}: {rest:?}");
                drop(server);
                let wanted = if fails { "CD" } else { "--" };
                assert_eq!(flags(&sink), wanted, "{what}");
            }
        }
    });
}

#[test]
fn no_good_end_is_announced_by_tls_either() {
    // The oracle does announce one, in HTTP.
    let program = &Program::mulgil();
    let folder = Folder::new();
    let (key, cert) = lab::certificate(&folder, "s");
    let both = [cert, key].map(|p| std::fs::read_to_string(p).expect("a file"));
    let pem = folder.file("s.pem", both.concat().as_bytes());
    for (mode, asked, ..) in &UPLOADS[..2] {
        let (origin, inner) = (lab::listener(), port());
        let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
        let lines = format!(
            "    server s 127.0.0.1:{inner} ssl verify none\n\
             listen inner\n    mode tcp\n    no log\n    bind 127.0.0.1:{inner} ssl crt {pem}\n    server s {addr}\n"
        );
        let _proxy = Proxy::start(program, &config(mode, door, &sink, &lines));
        let mut client = connect(door);
        client.write_all(asked.as_bytes()).expect("sent");
        let (mut server, _) = origin.accept().expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        hear(&mut server, "hi");
        reset(client);
        let rest = server.read_to_end(&mut Vec::new());
        assert!(rest.is_err(), "{mode}: {rest:?}");
        assert_eq!(flags(&sink), "CD", "{mode}");
    }
}

#[test]
fn an_upload_that_its_server_does_not_take_ends() {
    // The oracle notices a reset with the next bytes.
    let program = &Program::mulgil();
    let origin = lab::listener();
    let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
    let proxy = Proxy::start(
        program,
        &config("http", door, &sink, &format!("    server s {addr}\n")),
    );
    let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n";
    let (_, connect_to, answered, heard) = UPLOADS[3];
    for (asked, answered, heard) in [(post, "", ""), (connect_to, answered, heard)] {
        for fails in [true, false] {
            let mut client = connect(door);
            client.write_all(asked.as_bytes()).expect("sent");
            let (mut server, _) = origin.accept().expect("a connection");
            hear(&mut server, "\r\n\r\n");
            server.write_all(answered.as_bytes()).expect("sent");
            hear(&mut client, heard);
            // Until nobody takes any more.
            let moment = Some(Duration::from_millis(200));
            client.set_write_timeout(moment).expect("a timeout");
            while client.write_all(&[0; 1 << 16]).is_ok() {}
            let wanted = if fails {
                reset(client);
                "CD"
            } else {
                end(&proxy, ENDS[0]);
                "KD"
            };
            assert_eq!(flags(&sink), wanted, "{asked:?}");
            proxy.wait_for("b", "s", "scur", "0");
        }
    }
}

#[test]
fn what_a_client_says_last_arrives_though_both_have_ended() {
    each(|program| {
        let origin = lab::listener();
        let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
        let server = format!("    server s {addr}\n");
        let _proxy = Proxy::start(program, &config("http", door, &sink, &server));
        let (_, asked, answered, heard) = UPLOADS[3];
        let mut client = connect(door);
        client.write_all(asked.as_bytes()).expect("sent");
        let (mut server, _) = origin.accept().expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        hear(&mut server, heard);
        server.write_all(answered.as_bytes()).expect("sent");
        server.shutdown(Shutdown::Write).expect("shut");
        client.read_to_end(&mut Vec::new()).expect("its end");
        let moment = Some(Duration::from_millis(200));
        client.set_write_timeout(moment).expect("a timeout");
        let mut said = 0;
        while let Ok(n) = client.write(&[0; 1 << 16]) {
            said += n;
        }
        drop(client);
        let mut all = Vec::new();
        let end = server.read_to_end(&mut all);
        assert_eq!(
            (end.ok(), all.len()),
            (Some(said), said),
            "{}",
            program.name
        );
    });
}

#[test]
fn a_client_that_goes_on_asking_loses_nothing_of_the_last_answer() {
    let bytes = [b'x'; 300_000];
    // The oracle resets what the client has not taken by then.
    let program = &Program::mulgil();
    for asks in [1, 1000] {
        let origin = lab::listener();
        let (addr, door, sink) = (origin.local_addr().expect("one"), port(), LogSink::new());
        let server = format!("    server s {addr}\n");
        let _proxy = Proxy::start(program, &config("http", door, &sink, &server));
        let ask = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut client = connect(door);
        client.write_all(ask).expect("sent");
        let mut server = accept(&origin);
        hear(&mut server, "\r\n\r\n");
        client.write_all(&ask.repeat(asks)).expect("sent");
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        server
            .write_all(&[&head[..], &bytes].concat())
            .expect("sent");
        drop(server);
        // By now all is on its way, and nobody will read what else the client has said.
        assert_eq!(flags(&sink), "--", "{}", program.name);
        let mut all = Vec::new();
        let end = client.read_to_end(&mut all);
        assert!(
            end.is_ok() && all.ends_with(&bytes),
            "{}: {end:?}, {}",
            program.name,
            all.len()
        );
    }
}

#[test]
fn who_connects_to_a_backup_server_goes_to_the_one_that_comes_up() {
    // The oracle's session ends.
    let program = &Program::mulgil();
    let main = Server::named("main");
    // A listener whose queue is full drops what comes.
    let hung = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let (hung, any) = (
        hung.expect("a socket"),
        SocketAddr::from(([127, 0, 0, 1], 0)),
    );
    hung.bind(&any.into()).expect("a port");
    hung.listen(0).expect("it listens");
    let spare = hung
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("of IP");
    let queue = (0..4).map(|_| TcpStream::connect_timeout(&spare, Duration::from_millis(100)));
    let _queue: Vec<_> = queue.collect();
    for mode in ["http", "tcp"] {
        let (door, sink) = (port(), LogSink::new());
        let servers = format!(
            "    server main {} check inter 1h on-marked-up shutdown-backup-sessions\n    \
             server spare {} backup on-error mark-down observe layer4 error-limit 1 check port {} inter 1h\n",
            main.addr,
            spare,
            main.addr.port()
        );
        let proxy = Proxy::start(program, &config(mode, door, &sink, &servers));
        proxy.control("set server b/main health down");
        let mut client = connect(door);
        let ask = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        client.write_all(ask).expect("sent");
        proxy.wait_for("b", "spare", "scur", "1");
        proxy.control("set server b/main health up");
        hear(&mut client, "\r\n\r\nok");
        drop(client);
        assert_eq!(flags(&sink), "--", "{mode}");
        // It is not to blame.
        let state = proxy.stats("b", "spare", &["status"]);
        assert!(state[0].starts_with("UP"), "{mode}: {state:?}");
    }
}
