//! `mode ftp`, which the oracle does not have: real servers (vsftpd) and real clients (curl, lftp),
//! each in its own process and on the loopback.

use lab::real::{Vsftpd, missing, run};
use lab::{Folder, LogSink, Program, Proxy, port};

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// A frontend on both families, with TLS for who asks; a line of log names the user and the bytes of
/// data.
fn frontend(port: u16, sink: &LogSink, folder: &Folder, more: &str) -> String {
    let pem = certificate(folder);
    format!(
        "defaults\n    mode ftp\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n    log 127.0.0.1:{} local0\n\
         frontend f\n    bind 127.0.0.1:{port} starttls crt {pem}\n    bind [::1]:{port} starttls crt {pem}\n    \
         log-format \"user=%[ftp.user] protected=%[ftp.protected] %b/%s up=%U down=%B %ts\"\n{more}",
        sink.port
    )
}

fn certificate(folder: &Folder) -> String {
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let made = run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &cert,
        ],
    );
    assert_eq!(made.0, 0, "{}", made.1);
    let both = [cert, key]
        .map(|f| std::fs::read_to_string(f).expect("made"))
        .concat();
    folder.file("site.pem", both.as_bytes())
}

/// Bytes that differ from place to place.
fn pattern(n: usize) -> Vec<u8> {
    (0..n as u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(n)
        .collect()
}

#[test]
fn files_go_both_ways_in_every_mode() {
    if missing(&["vsftpd", "curl", "lftp", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    let bytes = pattern(3_000_001);
    let source = folder.file("source", &bytes);
    let v4 = format!("ftp://127.0.0.1:{door}");
    let v6 = format!("ftp://[::1]:{door}");
    let tls = ["--ssl-reqd", "-k"];
    let ways: [(&str, &[&str]); 9] = [
        (&v4, &[]),
        (&v4, &["--disable-epsv"]),
        (&v4, &["-P", "-"]),
        (&v4, &["-P", "-", "--disable-eprt"]),
        (&v6, &[]),
        (&v6, &["-P", "-"]),
        (&v4, &tls),
        (&v4, &[tls[0], tls[1], "--disable-epsv"]),
        (&v6, &tls),
    ];
    for (at, (url, words)) in ways.into_iter().enumerate() {
        let name = format!("{url}/file{at}");
        let put = [&["-gsS", "--max-time", "10", "-T", &source, &name], words].concat();
        assert_eq!(run("curl", &put), (0, String::new()), "{words:?}");
        assert!(server.read(&format!("file{at}")) == bytes, "{words:?}: up");
        let copy = folder.path(&format!("copy{at}"));
        let get = [&["-gsS", "--max-time", "10", "-o", &copy, &name], words].concat();
        assert_eq!(run("curl", &get), (0, String::new()), "{words:?}");
        let copied = std::fs::read(&copy).expect("a copy");
        assert!(copied == bytes, "{words:?}: down");
        let protected = if words.contains(&"-k") { "1" } else { "0" };
        let wanted = format!("user=anonymous protected={protected} b/s up=3000001 down=0 --");
        sink.line(&wanted);
    }
    // curl does not speak TLS where it is connected to; lftp does.
    // Each upload by itself, because what a client left unread would take the end of some away.
    let puts: String = (0..8)
        .map(|n| format!("put {source} -o again{n}; "))
        .collect();
    let copy = folder.path("lftp");
    let script = format!(
        "set cmd:fail-exit yes; set net:timeout 5; set net:max-retries 1; set ftp:passive-mode no; \
         set ftp:ssl-force yes; set ftp:ssl-allow-anonymous yes; set ftp:ssl-protect-data yes; \
         set ssl:verify-certificate no; get file0 -o {copy}; {puts}bye"
    );

    let out = lftp(door, &script);
    assert_eq!(out.0, 0, "{}", out.1);
    assert!(
        std::fs::read(&copy).expect("a copy") == bytes,
        "active, with TLS, down"
    );
    for n in 0..8 {
        assert!(server.read(&format!("again{n}")) == bytes, "upload {n}");
    }
    sink.line("user=anonymous protected=1 b/s up=24000008 down=3000001 --");
}

fn lftp(port: u16, script: &str) -> (i32, String) {
    let place = port.to_string();
    let words = [
        "30",
        "lftp",
        "--norc",
        "-u",
        "anonymous,x",
        "-p",
        &place,
        "-e",
        script,
        "127.0.0.1",
    ];
    run("timeout", &words)
}

#[test]
fn the_users_name_and_address_choose_the_server() {
    if missing(&["vsftpd", "curl", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let (one, two, three) = (Vsftpd::start(""), Vsftpd::start(""), Vsftpd::start(""));
    for (server, text) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        server.write("which", text.as_bytes());
    }
    let rules = "    tcp-request content reject if { ftp.user -m str root }\n    \
                 use_backend three if { src 127.0.0.3 }\n    \
                 use_backend %[ftp.user,map_str(USERS)] if { ftp.user,map_str(USERS) -m found }\n    \
                 default_backend two\n";
    let users = folder.file("users", b"anonymous one\n");
    let rules = rules.replace("USERS", &users);
    let config = frontend(door, &sink, &folder, &rules);
    let backends = format!(
        "backend one\n    server s {}\nbackend two\n    server s {}\nbackend three\n    server s {}\n",
        one.addr, two.addr, three.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &format!("{config}{backends}"));
    let get = |user: &str, from: &str| {
        let url = format!("ftp://127.0.0.1:{door}/which");
        let user = format!("{user}:x");
        let words = [
            "-sS",
            "--max-time",
            "10",
            "--interface",
            from,
            "-u",
            &user,
            &url,
        ];
        run("curl", &words)
    };
    assert_eq!(get("anonymous", "127.0.0.1"), (0, "one".into()));
    assert_eq!(get("ftp", "127.0.0.1"), (0, "two".into()));
    assert_eq!(get("ftp", "127.0.0.3"), (0, "three".into()));
    sink.line("user=ftp protected=0 three/s up=0 down=5 --");
    let (code, said) = get("root", "127.0.0.1");
    assert_eq!((code, said.contains("530")), (67, true), "{said}");
    sink.line("user=root protected=0 f/<NOSRV> up=0 down=0 PR");
    // A name that has not logged in is changed for another, and another server.
    let mut client = Ftp::connect(door);
    assert!(
        client.ask("USER nobody").starts_with("530"),
        "vsftpd says no"
    );
    assert!(client.ask("USER anonymous").starts_with("230"));
    assert!(client.ask("USER ftp").starts_with("530"), "not any more");
    assert_eq!(client.fetch("which"), "one");
    client.ask("QUIT");
}

#[test]
fn many_small_files_pass_in_one_session() {
    if missing(&["vsftpd", "lftp", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    let config = frontend(
        door,
        &sink,
        &folder,
        "    ftp-data-ports 42000-42499\n    default_backend b\n",
    );
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    for n in 0..150 {
        server.write(&format!("small{n}"), &pattern(n * 7));
    }
    let copy = folder.path("copy");
    let script = format!(
        "set cmd:fail-exit yes; set net:timeout 5; set ftp:sync-mode no; set ftp:ssl-allow no; \
         mirror . {copy}; mkdir back; mirror -R {copy} back; bye"
    );
    let out = lftp(door, &script);
    assert_eq!(out.0, 0, "{}", out.1);
    for n in 0..150 {
        let name = format!("small{n}");
        let copied = std::fs::read(format!("{copy}/{name}")).expect("a copy");
        assert!(copied == pattern(n * 7), "{name}");
        assert!(
            server.read(&format!("back/{name}")) == copied,
            "{name} back"
        );
    }
    assert_eq!(proxy.stat("b", "s", "econ"), "0");
}

#[test]
fn one_big_file_passes_both_ways_and_is_counted() {
    if missing(&["vsftpd", "curl", "openssl"]) {
        return;
    }
    const SIZE: usize = 48 << 20;
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    let bytes = pattern(SIZE);
    let source = folder.file("source", &bytes);
    let url = format!("ftp://127.0.0.1:{door}/big");
    let put = ["-sS", "--max-time", "30", "-T", &source, &url];
    assert_eq!(run("curl", &put), (0, String::new()));
    let copy = folder.path("copy");
    let get = ["-sS", "--max-time", "30", "-o", &copy, &url];
    assert_eq!(run("curl", &get), (0, String::new()));
    assert!(std::fs::read(&copy).expect("a copy") == bytes);
    proxy.wait_for("b", "s", "bin", &SIZE.to_string());
    proxy.wait_for("b", "s", "bout", &SIZE.to_string());
    proxy.wait_for("f", "FRONTEND", "scur", "0");
}

#[test]
fn a_transfer_goes_on_where_the_one_before_ended() {
    if missing(&["vsftpd", "curl", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    let bytes = pattern(1_000_000);
    server.write("file", &bytes);
    let copy = folder.file("copy", &bytes[..600_001]);
    let url = format!("ftp://127.0.0.1:{door}/file");
    let get = ["-sS", "--max-time", "10", "-C", "-", "-o", &copy, &url];
    assert_eq!(run("curl", &get), (0, String::new()));
    assert!(std::fs::read(&copy).expect("a copy") == bytes, "down");
    sink.line("user=anonymous protected=0 b/s up=0 down=399999 --");
    let rest = folder.file("rest", &bytes[..1000]);
    let put = ["-sS", "--max-time", "10", "-a", "-T", &rest, &url];
    assert_eq!(run("curl", &put), (0, String::new()));
    assert!(server.read("file") == [&bytes[..], &bytes[..1000]].concat());
    sink.line("user=anonymous protected=0 b/s up=1000 down=0 --");
}

#[test]
fn servers_are_spoken_to_by_tls_of_either_kind() {
    if missing(&["vsftpd", "curl", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let pem = certificate(&folder);
    let tls = format!(
        "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrequire_ssl_reuse=NO\nrsa_cert_file={pem}\nrsa_private_key_file={pem}\n"
    );
    let explicit = Vsftpd::start(&tls);
    let implicit = Vsftpd::start(&format!("{tls}implicit_ssl=YES\n"));
    let rules =
        "    use_backend implicit if { ftp.user -m str ftp }\n    default_backend explicit\n";
    let config = frontend(door, &sink, &folder, rules);
    let backends = format!(
        "backend explicit\n    server s {} starttls verify none\nbackend implicit\n    server s {} ssl verify none\n",
        explicit.addr, implicit.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &format!("{config}{backends}"));
    let bytes = pattern(500_000);
    let source = folder.file("source", &bytes);
    for (user, server) in [("anonymous:x", &explicit), ("ftp:x", &implicit)] {
        let url = format!("ftp://127.0.0.1:{door}/file");
        let put = ["-sS", "--max-time", "10", "-u", user, "-T", &source, &url];
        assert_eq!(run("curl", &put), (0, String::new()), "{user}");
        assert!(server.read("file") == bytes, "{user}: up");
        let copy = folder.path("copy");
        let get = ["-sS", "--max-time", "10", "-u", user, "-o", &copy, &url];
        assert_eq!(run("curl", &get), (0, String::new()), "{user}");
        assert!(
            std::fs::read(&copy).expect("a copy") == bytes,
            "{user}: down"
        );
    }
}

/// A client by hand.
struct Ftp {
    control: BufReader<TcpStream>,
}

impl Ftp {
    fn connect(port: u16) -> Ftp {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream
            .set_read_timeout(Some(lab::PATIENCE * 2))
            .expect("a timeout");
        let mut client = Ftp {
            control: BufReader::new(stream),
        };
        let greeting = client.reply();
        assert!(greeting.starts_with("220 "), "{greeting}");
        client
    }

    /// The next reply, all its lines; empty at the end.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.control.read_line(&mut line).expect("a reply");
            let last = line.get(3..4) != Some("-") && !line.starts_with(' ');
            reply += &line;
            if last {
                return reply;
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.control
            .get_mut()
            .write_all(text.as_bytes())
            .expect("sent");
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(&format!("{command}\r\n"));
        self.reply()
    }

    fn login(&mut self) {
        let reply = self.ask("USER anonymous");
        assert!(reply.starts_with("230"), "{reply}");
    }

    /// A data connection by `EPSV`.
    fn data(&mut self) -> TcpStream {
        let reply = self.ask("EPSV");
        let port = reply.split('|').nth(3).and_then(|p| p.parse().ok());
        let port: u16 = port.unwrap_or_else(|| panic!("a port: {reply}"));
        // Little room, so that a slow reader is seen to read.
        let data = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let data = data.expect("a socket");
        data.set_recv_buffer_size(64 << 10).expect("set");
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        data.connect(&address.into()).expect("a data connection");
        let data = TcpStream::from(data);
        data.set_read_timeout(Some(lab::PATIENCE * 2))
            .expect("a timeout");
        data
    }

    fn fetch(&mut self, name: &str) -> String {
        let mut data = self.data();
        let begun = self.ask(&format!("RETR {name}"));
        assert!(begun.starts_with("150"), "{begun}");
        let mut text = String::new();
        data.read_to_string(&mut text).expect("a file");
        assert!(self.reply().starts_with("226"));
        text
    }
}

#[test]
fn a_server_that_dies_in_mid_session_is_no_silence() {
    if missing(&["vsftpd", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let mut server = Vsftpd::start("");
    server.write("big", &pattern(32 << 20));
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{config}backend b\n    timeout check 5s\n    option tcp-check\n    tcp-check expect rstring ^220\n    server s {} check inter 100ms fall 1\n",
            server.addr
        ),
    );
    proxy.wait_for("b", "s", "status", "UP");
    let (mut idle, mut busy) = (Ftp::connect(door), Ftp::connect(door));
    idle.login();
    busy.login();
    let mut data = busy.data();
    assert!(busy.ask("RETR big").starts_with("150"));
    data.read_exact(&mut [0; 1000]).expect("it begins");
    server.kill();
    assert!(
        busy.reply().starts_with("426"),
        "the transfer is broken off"
    );
    assert!(busy.reply().starts_with("421"), "and the session");
    assert_eq!(busy.reply(), "", "its end");
    assert!(idle.reply().starts_with("421"));
    // The bytes just end: that they are not all of them is what the reply is for.
    let _ = data.read_to_end(&mut Vec::new());
    sink.line("user=anonymous protected=0 b/s up=0 down=");
    proxy.wait_for("b", "s", "status", "DOWN");
    let mut late = Ftp::connect(door);
    assert!(late.ask("USER anonymous").starts_with("421"), "no server");
    assert_eq!(late.reply(), "");
}

#[test]
fn an_idle_control_connection_stays_while_data_flows() {
    if missing(&["vsftpd", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    let bytes = pattern(4 << 20);
    server.write("big", &bytes);
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let config = config
        .replace("client 5s", "client 1500ms")
        .replace("server 5s", "server 1500ms");
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    let mut client = Ftp::connect(door);
    client.login();
    let mut data = client.data();
    assert!(client.ask("RETR big").starts_with("150"));
    let mut got = Vec::new();
    // Longer than both timeouts, a little at a time.
    for _ in 0..10 {
        let mut part = vec![0; 300_000];
        data.read_exact(&mut part).expect("more");
        got.extend(part);
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    data.read_to_end(&mut got).expect("the rest");
    assert!(got == bytes);
    assert!(client.reply().starts_with("226"));
    assert!(client.reply().starts_with("421 Timeout"), "then it is idle");
    sink.line("down=4194304 cD");
}

#[test]
fn commands_may_be_sent_ahead_and_during_a_transfer() {
    if missing(&["vsftpd", "openssl"]) {
        return;
    }
    let (folder, sink, door) = (Folder::new(), LogSink::new(), port());
    let server = Vsftpd::start("");
    server.write("big", &pattern(8 << 20));
    server.write("small", b"little");
    let config = frontend(door, &sink, &folder, "    default_backend b\n");
    let _proxy = Proxy::start(
        &Program::mulgil(),
        &format!("{config}backend b\n    server s {}\n", server.addr),
    );
    let mut client = Ftp::connect(door);
    client.send(
        "FEAT\r\nUSER anonymous\r\nTYPE I\r\nPBSZ 0\r\nCCC\r\nREIN\r\nSIZE small\r\nNOOP\r\n",
    );
    let features = client.reply();
    assert!(
        features.contains(" AUTH TLS\r\n") && features.contains(" EPSV\r\n"),
        "{features}"
    );
    for code in ["230", "200", "503", "533", "502", "213 6", "200"] {
        let reply = client.reply();
        assert!(reply.starts_with(code), "{code}: {reply}");
    }
    let features = client.ask("FEAT");
    assert!(
        features.contains(" MDTM\r\n") && features.contains(" PROT\r\n"),
        "{features}"
    );
    assert_eq!(features.matches(" EPSV").count(), 1, "{features}");
    // The next transfer is asked for while the first is under way, as is an end to that.
    let mut data = client.data();
    client.send("RETR big\r\nEPSV\r\n");
    assert!(client.reply().starts_with("150"));
    let mut first = Vec::new();
    data.read_to_end(&mut first).expect("all of it");
    assert_eq!(first.len(), 8 << 20);
    assert!(client.reply().starts_with("226"));
    assert!(client.reply().starts_with("229"));
    let mut data = client.data();
    assert!(client.ask("RETR big").starts_with("150"));
    data.read_exact(&mut [0; 1000]).expect("it begins");
    client
        .control
        .get_mut()
        .write_all(b"\xff\xf4\xff\xf2ABOR\r\n")
        .expect("sent");
    drop(data);
    let broken = client.reply();
    assert!(
        broken.starts_with("426") || broken.starts_with("226"),
        "{broken}"
    );
    let reply = client.reply();
    assert!(
        reply.starts_with("22") || reply.starts_with("500"),
        "{reply}"
    );
    assert_eq!(client.fetch("small"), "little", "the session goes on");
    let urgent = socket2::SockRef::from(client.control.get_ref());
    urgent.send_out_of_band(b"\xff\xf4\xff").expect("sent");
    client
        .control
        .get_mut()
        .write_all(b"\xf2NOOP\r\n")
        .expect("sent");
    assert!(
        client.reply().starts_with("200"),
        "urgent bytes hold nothing up"
    );
    assert!(client.ask("QUIT").starts_with("221"));
}

#[test]
fn the_example_leads_each_user_to_a_server() {
    if missing(&["vsftpd", "curl"]) {
        return;
    }
    let (staff, public, door) = (Vsftpd::start(""), Vsftpd::start(""), port());
    staff.write("which", b"staff");
    public.write("which", b"public");
    let file = format!("{}/../examples/own/ftp.cfg", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).expect("an example");
    let text = text
        .replace("${LISTEN-127.0.0.1:2121}", &format!("127.0.0.1:{door}"))
        .replace("${STAFF-127.0.0.1:2101}", &staff.addr.to_string())
        .replace("${PUBLIC-127.0.0.1:2102}", &public.addr.to_string())
        // vsftpd here knows no others than these two.
        .replace("str alice bob carol", "str ftp");
    let proxy = Proxy::start(&Program::mulgil(), &text);
    for backend in ["staff", "public"] {
        proxy.wait_for(backend, "one", "check_status", "L7OK");
    }
    for (user, wanted) in [("ftp:x", "staff"), ("anonymous:x", "public")] {
        let url = format!("ftp://127.0.0.1:{door}/which");
        let words = [
            "-sS",
            "--max-time",
            "10",
            "--disable-epsv",
            "-u",
            user,
            &url,
        ];
        assert_eq!(run("curl", &words), (0, wanted.into()), "{user}");
    }
}
