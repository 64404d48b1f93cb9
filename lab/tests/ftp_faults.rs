//! `mode ftp` between a client and a server by hand: what is refused, rewritten, and said when
//! something fails.

use lab::{Folder, LogSink, PATIENCE, Program, Proxy, port, refusing};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// A frontend that logs, before a server.
fn config(door: u16, sink: &LogSink, front: &str, server: &str) -> String {
    format!(
        "defaults\n    mode ftp\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n    option tcplog\n    log 127.0.0.1:{} local0\n\
         frontend f\n    bind 127.0.0.1:{door}\n{front}    default_backend b\nbackend b\n{server}",
        sink.port
    )
}

/// One side of a control connection.
struct Peer(BufReader<TcpStream>);

impl Peer {
    fn of(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Peer(BufReader::new(stream))
    }

    fn connect(port: u16) -> Peer {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let mut peer = Peer::of(stream);
        assert!(peer.line().starts_with("220 "));
        peer
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    fn ask(&mut self, text: &str) -> String {
        self.send(&format!("{text}\r\n"));
        self.line()
    }
}

/// A listening server of FTP, to be played by the test.
struct Stage(TcpListener);

impl Stage {
    fn new() -> Stage {
        Stage(lab::listener())
    }

    fn line(&self) -> String {
        let addr = self.0.local_addr().expect("an address");
        format!("    server s {addr}\n")
    }

    fn accept(&self) -> Peer {
        Peer::of(self.0.accept().expect("a connection").0)
    }
}

/// A client and a server that have come to a login.
fn session(door: u16, stage: &Stage) -> (Peer, Peer) {
    let mut client = Peer::connect(door);
    client.send("USER alice\r\n");
    let mut server = stage.accept();
    server.send("220-first\r\n220 hello\r\n");
    assert_eq!(server.line(), "USER alice\r\n");
    server.send("331 and?\r\n");
    assert_eq!(client.line(), "331 and?\r\n");
    client.send("PASS x\r\n");
    assert_eq!(server.line(), "PASS x\r\n");
    server.send("230 in\r\n");
    assert_eq!(client.line(), "230 in\r\n");
    (client, server)
}

/// What the server says when it is asked for a port; what the client is told.
fn passive(client: &mut Peer, server: &mut Peer, command: &str, data: &TcpListener) -> String {
    client.send(&format!("{command}\r\n"));
    assert_eq!(server.line(), "PASV\r\n");
    let port = data.local_addr().expect("an address").port();
    let [high, low] = port.to_be_bytes();
    // The address is not what counts: it would lead to somebody else.
    server.send(&format!("227 come (192,0,2,99,{high},{low})\r\n"));
    client.line()
}

fn told(reply: &str) -> SocketAddr {
    let (_, rest) = reply.split_once('(').expect("an address");
    let (numbers, _) = rest.split_once(')').expect("an address");
    let n: Vec<u8> = numbers
        .split(',')
        .map(|n| n.parse().expect("a number"))
        .collect();
    SocketAddr::from(([n[0], n[1], n[2], n[3]], u16::from_be_bytes([n[4], n[5]])))
}

#[test]
fn data_connections_lead_to_nobody_else() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let front = "    ftp-data-address 203.0.113.7\n    ftp-data-ports 43000-43099\n";
    let config = config(door, &sink, front, &stage.line());
    let _proxy = Proxy::start(&Program::mulgil(), &config);
    let (mut client, mut server) = session(door, &stage);
    for (command, code) in [
        ("PORT 192,0,2,1,200,10", "504"),
        ("PORT 127,0,0,1,0,25", "504"),
        ("PORT 127,0,0,1,200", "501"),
        ("EPRT |1|192.0.2.1|51210|", "504"),
        ("EPRT |2|::1|51210|", "504"),
        ("EPRT |7|x|51210|", "522"),
        ("EPSV 2", "522"),
        ("LPSV", "502"),
        ("SSCN ON", "502"),
        ("RETR a\rDELE b", "501"),
        ("AUTH TLS", "502"),
        ("PROT P", "503"),
    ] {
        let reply = client.ask(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    // The server's end is where its control connection leads, whatever address it names.
    let data = lab::listener();
    let reply = passive(&mut client, &mut server, "PASV", &data);
    let address = told(&reply);
    assert_eq!(address.ip().to_string(), "203.0.113.7");
    assert!((43000..=43099).contains(&address.port()), "{reply}");
    let (mut theirs, _) = data.accept().expect("the server's end");
    // A stranger comes first, and is sent away.
    let stranger = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let stranger = stranger.expect("a socket");
    let from: SocketAddr = ([127, 0, 0, 9], 0).into();
    stranger.bind(&from.into()).expect("an address");
    let here: SocketAddr = ([127, 0, 0, 1], address.port()).into();
    stranger.connect(&here.into()).expect("it listens");
    let mut stranger = TcpStream::from(stranger);
    stranger
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout");
    assert!(
        !matches!(stranger.read(&mut [0]), Ok(1)),
        "nothing for a stranger"
    );
    let mut ours = TcpStream::connect(here).expect("it listens still");
    ours.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.send("LIST\r\n");
    assert_eq!(server.line(), "LIST\r\n");
    theirs.write_all(b"a file\r\n").expect("sent");
    drop(theirs);
    server.send("150 here\r\n226 that was it\r\n");
    assert_eq!(client.line(), "150 here\r\n");
    let mut text = String::new();
    ours.read_to_string(&mut text).expect("its end");
    assert_eq!(text, "a file\r\n");
    assert_eq!(client.line(), "226 that was it\r\n");
    // Nobody comes to that port again.
    assert!(TcpStream::connect(here).is_err(), "closed");
    assert!(client.ask("EPSV ALL").starts_with("200"));
    assert!(client.ask("PORT 127,0,0,1,200,10").starts_with("503"));
    client.send("QUIT\r\n");
    assert_eq!(server.line(), "QUIT\r\n");
    server.send("221 bye\r\n");
    drop(server);
    assert_eq!(client.line(), "221 bye\r\n");
    let line = sink.line("b/s");
    assert!(line.contains(" 8 -- "), "bytes of data: {line}");
}

#[test]
fn what_cannot_be_made_is_said_by_its_code() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let _proxy = Proxy::start(&Program::mulgil(), &config(door, &sink, "", &stage.line()));
    let (mut client, mut server) = session(door, &stage);
    // The server's port: nobody is there.
    let [high, low] = refusing().to_be_bytes();
    client.send("EPSV\r\n");
    assert_eq!(server.line(), "PASV\r\n");
    server.send(&format!("227 (127,0,0,1,{high},{low})\r\n"));
    assert!(client.line().starts_with("229"));
    assert!(client.ask("RETR x").starts_with("425"));
    // The client's.
    let data = lab::listener();
    let [high, low] = refusing().to_be_bytes();
    let command = format!("PORT 127,0,0,1,{high},{low}");
    let reply = passive(&mut client, &mut server, &command, &data);
    assert!(reply.starts_with("200"), "{reply}");
    assert!(client.ask("STOR x").starts_with("425"));
    // The server has no port.
    client.send("PASV\r\n");
    assert_eq!(server.line(), "PASV\r\n");
    server.send("421 too busy\r\n");
    assert_eq!(client.line(), "421 too busy\r\n");
    drop(server);
    assert_eq!(client.line(), "", "its end, and nothing more");
}

#[test]
fn a_transfer_ends_when_its_bytes_have_left_and_well_only_then() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let _proxy = Proxy::start(&Program::mulgil(), &config(door, &sink, "", &stage.line()));
    let (mut client, mut server) = session(door, &stage);
    let data = lab::listener();
    let reply = passive(&mut client, &mut server, "PASV", &data);
    let mut ours = TcpStream::connect(told(&reply)).expect("it listens");
    let (mut theirs, _) = data.accept().expect("the server's end");
    client.send("RETR x\r\n");
    assert_eq!(server.line(), "RETR x\r\n");
    server.send("150 here\r\n");
    assert_eq!(client.line(), "150 here\r\n");
    // A status in between is answered in between.
    client.send("STAT\r\n");
    assert_eq!(server.line(), "STAT\r\n");
    server.send("211-half\r\n way\r\n211 there\r\n");
    assert_eq!(client.line(), "211-half\r\n");
    assert_eq!(client.line(), " way\r\n");
    assert_eq!(client.line(), "211 there\r\n");
    // So is what keeps the connection alive, by servers that go on listening.
    client.send("NOOP\r\n");
    assert_eq!(server.line(), "NOOP\r\n");
    server.send("200 still here\r\n");
    assert_eq!(client.line(), "200 still here\r\n");
    client.send("RNFR y\r\n");
    assert_eq!(server.line(), "RNFR y\r\n");
    server.send("350 and to?\r\n");
    assert_eq!(client.line(), "350 and to?\r\n");
    theirs.write_all(&[7; 100_000]).expect("sent");
    // The server is content before its bytes have left; the client is not told.
    server.send("226 done\r\n");
    client
        .0
        .get_ref()
        .set_read_timeout(Some(PATIENCE / 10))
        .expect("set");
    assert!(client.0.read_line(&mut String::new()).is_err(), "not yet");
    client
        .0
        .get_ref()
        .set_read_timeout(Some(PATIENCE))
        .expect("set");
    drop(theirs);
    let mut bytes = Vec::new();
    ours.read_to_end(&mut bytes).expect("its end");
    assert_eq!(bytes.len(), 100_000);
    assert_eq!(client.line(), "226 done\r\n");
    // A client that breaks off, and a server that has not noticed.
    let reply = passive(&mut client, &mut server, "PASV", &data);
    let ours = TcpStream::connect(told(&reply)).expect("it listens");
    let (mut theirs, _) = data.accept().expect("the server's end");
    client.send("RETR x\r\n");
    assert_eq!(server.line(), "RETR x\r\n");
    server.send("150 here\r\n");
    assert_eq!(client.line(), "150 here\r\n");
    socket2::SockRef::from(&ours)
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("set");
    drop(ours);
    theirs.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    assert!(theirs.read(&mut [0]).is_err(), "the server's end is reset");
    drop(theirs);
    server.send("226 done\r\n");
    assert!(client.line().starts_with("426"));
    // What the client breaks off is not a whole file for the server.
    let reply = passive(&mut client, &mut server, "PASV", &data);
    let mut ours = TcpStream::connect(told(&reply)).expect("it listens");
    let (mut theirs, _) = data.accept().expect("the server's end");
    client.send("STOR x\r\n");
    assert_eq!(server.line(), "STOR x\r\n");
    server.send("150 here\r\n");
    assert_eq!(client.line(), "150 here\r\n");
    ours.write_all(&[7; 1000]).expect("sent");
    theirs.read_exact(&mut [0; 1000]).expect("they pass");
    socket2::SockRef::from(&ours)
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("set");
    drop(ours);
    assert!(theirs.read(&mut [0]).is_err(), "no end, but a reset");
}

#[test]
fn who_says_goodbye_and_does_not_wait_for_the_reply_is_no_abort() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let _proxy = Proxy::start(&Program::mulgil(), &config(door, &sink, "", &stage.line()));
    let (mut client, mut server) = session(door, &stage);
    client.send("QUIT\r\n");
    assert_eq!(server.line(), "QUIT\r\n");
    socket2::SockRef::from(client.0.get_ref())
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("set");
    drop(client);
    // The server is told of the end, and answers behind it.
    assert_eq!(server.line(), "");
    server.send("221 bye\r\n");
    let line = sink.line("b/s");
    assert!(line.contains(" -- "), "{line}");
}

#[test]
fn servers_that_do_not_greet_are_passed_over() {
    let (door, sink) = (port(), LogSink::new());
    let (busy, free) = (Stage::new(), Stage::new());
    let servers = format!(
        "    balance first\n    option redispatch\n    retries 1\n{}{}",
        busy.line(),
        free.line().replace("server s", "server t")
    );
    let proxy = Proxy::start(&Program::mulgil(), &config(door, &sink, "", &servers));
    let mut client = Peer::connect(door);
    client.send("USER alice\r\n");
    let mut first = busy.accept();
    first.send("421 too many\r\n");
    let mut second = free.accept();
    second.send("220 hello\r\n");
    assert_eq!(second.line(), "USER alice\r\n");
    second.send("230 in\r\n");
    assert_eq!(client.line(), "230 in\r\n");
    assert_eq!(proxy.stat("b", "s", "wredis"), "1");
    assert_eq!(proxy.stat("b", "t", "scur"), "1");
    // Both are busy: the client hears of it.
    let mut client = Peer::connect(door);
    client.send("USER bob\r\n");
    busy.accept().send("421 too many\r\n");
    free.accept().send("421 too many\r\n");
    assert!(client.line().starts_with("421 "));
    assert_eq!(client.line(), "");
    sink.line(" b/t ");
}

#[test]
fn places_are_kept_and_waited_for() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let server = stage
        .line()
        .replace('\n', " maxconn 1\n    timeout queue 5s\n");
    let proxy = Proxy::start(&Program::mulgil(), &config(door, &sink, "", &server));
    let (first, served) = session(door, &stage);
    let mut second = Peer::connect(door);
    second.send("USER alice\r\n");
    proxy.wait_for("b", "BACKEND", "qcur", "1");
    drop((first, served));
    let mut server = stage.accept();
    server.send("220 hello\r\n");
    assert_eq!(server.line(), "USER alice\r\n");
    server.send("530 no\r\n");
    assert_eq!(second.line(), "530 no\r\n");
}

#[test]
fn before_a_name_there_is_little_to_say() {
    let (door, sink, stage) = (port(), LogSink::new(), Stage::new());
    let front = "    ftp-greeting 'files of example.org'\n";
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &config(door, &sink, front, &stage.line()),
    );
    let mut client = Peer::of(TcpStream::connect(("127.0.0.1", door)).expect("it listens"));
    assert_eq!(client.line(), "220 files of example.org\r\n");
    for (command, code) in [
        ("PASS x", "503"),
        ("LIST", "530"),
        ("USER", "501"),
        ("NOOP", "200"),
        ("PBSZ 0", "503"),
        ("QUIT", "221"),
    ] {
        let reply = client.ask(command);
        assert!(reply.starts_with(code), "{command}: {reply}");
    }
    assert_eq!(client.line(), "");
    let mut client = Peer::connect(door);
    client.send(&"x".repeat(40_000));
    assert!(client.line().starts_with("500"));
    sink.line("f/<NOSRV>");
    // What a web page has a browser send is not read to its commands.
    let mut client = Peer::connect(door);
    client.send("POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER alice\r\nPASS x\r\n");
    assert!(client.line().starts_with("500"));
    assert_eq!(client.line(), "");
    sink.line(" PR ");
}

#[test]
fn what_does_not_fit_the_mode_is_refused_with_a_place() {
    let folder = Folder::new();
    let cases = [
        (
            "mode tcp",
            "    ftp-data-ports 1-2\n",
            "",
            "'ftp-data-ports' is for sessions of FTP",
        ),
        (
            "mode ftp",
            "    ftp-data-ports 2-1\n",
            "",
            "write the lower one first",
        ),
        (
            "mode ftp",
            "    ftp-data-ports 21\n",
            "",
            "is no range of ports",
        ),
        (
            "mode ftp",
            "    ftp-data-address ::1\n",
            "",
            "is no IPv4 address",
        ),
        (
            "mode ftp",
            "    bind 127.0.0.1:2 defer-accept\n",
            "",
            "waits for our greeting",
        ),
        (
            "mode ftp",
            "    bind /tmp/x\n",
            "",
            "has no port beside which data connections",
        ),
        (
            "mode ftp",
            "    bind udp@127.0.0.1:3\n",
            "",
            "is for datagrams",
        ),
        (
            "mode ftp",
            "",
            "    server t /tmp/x\n",
            "has no address for data connections",
        ),
        (
            "mode ftp",
            "",
            "    balance rdp-cookie\n",
            "finds no cookie",
        ),
        (
            "mode tcp",
            "",
            "    server t 127.0.0.1:1 starttls verify none\n",
            "starttls' is for",
        ),
        (
            "mode ftp",
            "    bind 127.0.0.1:2 starttls\n",
            "",
            "'starttls' needs a certificate",
        ),
        (
            "mode ftp",
            "    http-request deny\n",
            "",
            "has no effect in 'f', which is in 'mode ftp'",
        ),
    ];
    for (mode, front, back, wanted) in cases {
        let text = format!(
            "defaults\n    {mode}\n    timeout client 3s\n    timeout server 3s\n    timeout connect 1s\n\
             frontend f\n    bind 127.0.0.1:1\n{front}    default_backend b\nbackend b\n    server s 127.0.0.1:1\n{back}"
        );
        let file = folder.file("test.cfg", text.as_bytes());
        let (_, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(said.contains(wanted), "{front}{back}: {said}");
        assert!(said.contains("test.cfg:"), "{said}");
    }
}
