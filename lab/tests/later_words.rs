//! Words of the language that are younger than the oracle: what is logged of bytes, of who broke a request
//! off, and of the rule that was waited for.

use lab::{Client, LogSink, Program, Proxy, Server, port};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A proxy in this mode that logs such a line.
fn start(mode: &str, format: &str, front: &str, server: &Server) -> (Proxy, LogSink, u16) {
    let (sink, port) = (LogSink::new(), port());
    let text = format!(
        "defaults\n    mode {mode}\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    log 127.0.0.1:{} local0\n    log-format \"said {format}\"\n\
         listen l\n    bind 127.0.0.1:{port}\n{front}    server s {}\n",
        sink.port, server.addr
    );
    (Proxy::start(&Program::mulgil(), &text), sink, port)
}

/// What stands behind `said` in the next line of log.
fn said(sink: &LogSink) -> String {
    let line = sink.line("said ");
    let at = line.find("said ").expect("it is there");
    line[at + 5..].to_string()
}

const BYTES: &str =
    "%[req.bytes_in] %[req.bytes_out] %[res.bytes_in] %[res.bytes_out] %[bytes_in] %[bytes_out]";

#[test]
fn bytes_are_counted_on_each_side() {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Long: 0123456789\r\n\r\nhello";
    let server = Server::fixed(ANSWER, true);
    let rules = "    http-request set-header x-more much\n    http-response del-header x-long\n";
    let (_proxy, sink, port) = start("http", BYTES, rules, &server);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an answer");
    let seen = server.requests().remove(0);
    let (from, to) = (request.len(), answer.len());
    let wanted = format!("{from} {} {} {to} {from} {to}", seen.len(), ANSWER.len());
    assert_eq!(said(&sink), wanted);
    // What is answered here never came to a server.
    let deny = "    http-request deny\n";
    let (_proxy, sink, port) = start("http", BYTES, deny, &server);
    assert_eq!(lab::get(port, "/").status, 403);
    let line = said(&sink);
    assert_eq!(
        line.split(' ').collect::<Vec<_>>()[1..3],
        ["0", "0"],
        "{line}"
    );
}

#[test]
fn a_session_of_bytes_counts_what_each_side_took() {
    let server = Server::fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false);
    let (_proxy, sink, port) = start("tcp", BYTES, "", &server);
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an answer");
    drop(client);
    let (from, to) = (request.len(), answer.len());
    assert_eq!(said(&sink), format!("{from} {from} {to} {to} {from} {to}"));
}

#[test]
fn a_server_that_breaks_its_answer_off_is_told() {
    let format = "%[fs.aborted] %[bs.aborted]";
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let server = Server::fixed(half, false);
    let (_proxy, sink, port) = start("http", format, "", &server);
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    let _ = client.read_to_end(&mut Vec::new());
    assert_eq!(said(&sink), "0 1");
    let whole = Server::named("s");
    let (_proxy, sink, port) = start("http", format, "", &whole);
    assert_eq!(lab::get(port, "/").status, 200);
    assert_eq!(said(&sink), "0 0");
}

#[test]
fn the_rule_that_decided_or_was_waited_for_is_told() {
    let server = Server::named("s");
    let rules = "    http-request deny if { path /no }\n    http-request wait-for-body time 9s if { path /body }\n";
    let format = "last=%[last_entity] waiting=%[waiting_entity]";
    let (proxy, sink, port) = start("http", format, rules, &server);
    let text = std::fs::read_to_string(&proxy.file).expect("its file");
    let place = |with: &str| {
        let at = text.lines().position(|l| l.contains(with)).expect("a line");
        format!("{}:{}", proxy.file, at + 1)
    };
    assert_eq!(lab::get(port, "/no").status, 403);
    assert_eq!(said(&sink), format!("last={} waiting=-", place("deny")));
    assert_eq!(lab::get(port, "/").status, 200);
    assert_eq!(said(&sink), "last=- waiting=-");
    let whole = "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab";
    assert_eq!(Client::connect(port).ask(whole).status, 200);
    assert_eq!(said(&sink), "last=- waiting=-");
    let mut client = Client::connect(port);
    client.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab");
    drop(client);
    let waited = place("wait-for-body");
    assert_eq!(said(&sink), format!("last={waited} waiting={waited}"));
}

#[test]
fn a_rule_for_bytes_that_was_waited_for_is_not_told_once_it_is_over() {
    let server = Server::named("s");
    let (sink, port) = (LogSink::new(), port());
    let text = format!(
        "resolvers dns\n    nameserver none 127.0.0.1:{}\n    resolve_retries 1\n    timeout resolve 100ms\n    timeout retry 100ms\n\
         defaults\n    mode tcp\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n    log 127.0.0.1:{} local0\n    \
         log-format \"said last=%[last_entity] waiting=%[waiting_entity]\"\n\
         listen l\n    bind 127.0.0.1:{port}\n    tcp-request content do-resolve(sess.ip,dns,ipv4) str(s.example)\n    server s {}\n",
        lab::port(),
        sink.port,
        server.addr
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    assert_eq!(lab::get(port, "/").status, 200);
    assert_eq!(said(&sink), "last=- waiting=-");
}

#[test]
fn rules_pass_over_backends_that_are_not_published() {
    let (port, bytes) = (port(), lab::port());
    let [new, old, hidden] = ["new", "old", "hidden"].map(Server::named);
    let text = format!(
        "defaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n\
         frontend f\n    bind 127.0.0.1:{port}\n    force-be-switch if {{ hdr(x-test) yes }}\n    use_backend new if {{ path_beg /app }}\n    \
         use_backend %[path,field(2,/)] if {{ path_beg /hidden }}\n    use_backend old if {{ path_beg /app }}\n    default_backend hidden\n\
         frontend t\n    mode tcp\n    bind 127.0.0.1:{bytes}\n    use_backend tnew\n    default_backend told\n\
         backend new\n    be-unpublished\n    server s {}\nbackend old\n    server s {}\nbackend hidden\n    be-unpublished\n    server s {}\n\
         backend tnew\n    mode tcp\n    be-unpublished\n    server s {}\nbackend told\n    mode tcp\n    server s {}\n",
        new.addr, old.addr, hidden.addr, new.addr, old.addr
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let server = |port: u16, path: &str, field: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{field}Connection: close\r\n\r\n");
        let answer = Client::connect(port).ask(&request);
        let status = answer.status.to_string();
        answer.header("x-server").unwrap_or(status)
    };
    assert_eq!(server(port, "/app", ""), "old");
    assert_eq!(server(port, "/app", "X-Test: yes\r\n"), "new");
    assert_eq!(server(port, "/hidden", ""), "503");
    assert_eq!(server(port, "/hidden", "X-Test: yes\r\n"), "hidden");
    assert_eq!(server(port, "/", ""), "503");
    assert_eq!(server(bytes, "/", ""), "old");
    let file = &proxy.file;
    let explained = Program::mulgil()
        .run(&["explain", "-f", file, "--frontend", "f", "/app"])
        .1;
    assert!(
        explained.contains("'new' is not published: passed over"),
        "{explained}"
    );
    assert!(explained.contains("backend 'old'"), "{explained}");
    for name in ["new", "tnew", "hidden"] {
        let said = proxy.control(&format!("publish backend {name}"));
        assert_eq!(said.trim(), "Backend published.");
    }
    assert_eq!(server(port, "/app", ""), "new");
    assert_eq!(server(port, "/", ""), "hidden");
    assert_eq!(server(bytes, "/", ""), "new");
    let said = proxy.control("unpublish backend new");
    assert_eq!(said.trim(), "Backend unpublished.");
    assert_eq!(server(port, "/app", ""), "old");
    // What an operator said holds through a reload.
    proxy.signal("-HUP");
    proxy.wait_for_output("in force");
    assert_eq!(server(port, "/app", ""), "old");
    assert_eq!(server(bytes, "/", ""), "new");
    assert!(
        proxy
            .control("publish backend nobody")
            .contains("No such backend.")
    );
}

/// A frontend and a backend of one name have nothing else in common.
#[test]
fn a_frontend_without_default_leads_to_no_backend_of_its_name() {
    lab::each(|program| {
        let (port, other) = (port(), lab::port());
        let [web, api] = ["web", "api"].map(Server::named);
        let _proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n\
                 frontend web\n    bind 127.0.0.1:{port}\n    use_backend api if {{ path /api }}\n\
                 frontend other\n    bind 127.0.0.1:{other}\n    default_backend web\n\
                 backend web\n    server s {}\nbackend api\n    server s {}\n",
                web.addr, api.addr
            ),
        );
        assert_eq!(
            lab::get(port, "/api").header("x-server").as_deref(),
            Some("api")
        );
        assert_eq!(lab::get(port, "/").status, 503);
        assert_eq!(
            lab::get(other, "/").header("x-server").as_deref(),
            Some("web")
        );
    });
}

#[test]
fn names_and_addresses_are_hidden_from_who_asks_for_that() {
    let (port, peers, server) = (port(), lab::port(), Server::named("s"));
    let addr = server.addr;
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "    anonkey 7\n    node our-house\n    description the west wing\n    localpeer own-name\n\
             peers us\n    peer own-name 127.0.0.1:{peers}\n    peer far-name 192.0.2.77:1\n\
             resolvers dns\n    nameserver asked-one 127.0.0.1:1\ndefaults\n    mode http\n    timeout client 9s\n    timeout server 9s\n    timeout connect 9s\n\
             listen secret-shop\n    bind 127.0.0.1:{port} name front-door\n    server cellar {addr}\n    server named later.example:80 init-addr none resolvers dns\n"
        ),
    );
    let shown = "show servers state; show stat";
    let open = proxy.control(shown);
    let tells = |text: &str| ["secret-shop", "cellar", "127.0.0.1"].map(|w| text.contains(w));
    assert_eq!(tells(&open), [true; 3], "{open}");
    let hidden = proxy.control(&format!("set anon on; {shown}"));
    assert_eq!(tells(&hidden), [false; 3], "{hidden}");
    assert_eq!(hidden.trim_start().lines().count(), open.lines().count());
    // The key is the file's, so that answers can be compared; another hides in another way.
    let names = |command: &str| {
        let text = proxy.control(&format!("{command}; show servers state"));
        let line = text
            .lines()
            .find(|l| l.starts_with("2 "))
            .expect("a server");
        line.split(' ').nth(1).unwrap_or_default().to_string()
    };
    let by_file = names("set anon on");
    assert_eq!(by_file, names("set anon on 7"));
    assert_ne!(by_file, names("set anon on 8"));
    assert_eq!(names("set anon off"), "secret-shop");
    proxy.control("set anon global-key 8");
    assert_eq!(names("set anon on"), names("set anon on 8"));
    let said = proxy.control("show anon; set anon on 9; show anon");
    assert!(said.contains("Anonymized mode disabled"), "{said}");
    assert!(said.contains("Anonymized mode enabled\nKey : 9"), "{said}");
    // Nor do other answers tell what the file names.
    let wholly = "set anon on; show stat typed; show peers; show resolvers; show stat domain resolvers; \
                  show info; show servers state; show cli sockets";
    let hidden = proxy.control(wholly);
    let open = proxy.control(&wholly.replace("anon on", "anon off"));
    for word in [
        "127.0.0.1",
        "cellar",
        "our-house",
        "west wing",
        "own-name",
        "far-name",
        "192.0.2.77",
        "asked-one",
        "later.example",
    ] {
        assert!(
            open.contains(word) && !hidden.contains(word),
            "{word}: {hidden} {open}"
        );
    }
    assert!(proxy.control("set anon maybe").contains("only supports"));
}
