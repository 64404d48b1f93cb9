//! The files in `examples/` that switch by content and block: each does what it says, through both
//! programs.

use lab::{Client, Proxy, Response, Server, each, port};
use std::io::Write;

/// An example with its variables set (`"${NAME-default}"`); what is not set keeps its default.
fn example(name: &str, set: &[(&str, String)]) -> String {
    let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(path).expect("an example");
    for (name, value) in set {
        let begin = format!("\"${{{name}-");
        while let Some(at) = text.find(&begin) {
            let end = at + text[at..].find("}\"").expect("an end") + 2;
            text.replace_range(at..end, value);
        }
    }
    text
}

/// Answers with its name to every request, its body included.
fn named(name: &'static str) -> Server {
    Server::start(move |_, stream| {
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        stream.write_all(text.as_bytes()).is_ok()
    })
}

/// One request on a connection of its own: first line without version, further fields, body.
fn ask(port: u16, line: &str, fields: &str, body: &str) -> Response {
    let host = if fields.contains("Host:") {
        ""
    } else {
        "Host: x\r\n"
    };
    let length = match body.len() {
        0 => String::new(),
        n => format!("Content-Length: {n}\r\n"),
    };
    Client::connect(port).ask(&format!(
        "{line} HTTP/1.1\r\n{host}Connection: close\r\n{fields}{length}\r\n{body}"
    ))
}

/// Runs an example with a server for each of these backends; each request names who must answer it.
fn leads(file: &str, backends: &[&'static str], requests: &[(&str, &str, &str, &str)]) {
    each(|program| {
        let port = port();
        let servers: Vec<Server> = backends.iter().map(|name| named(name)).collect();
        let mut set = vec![("LISTEN", format!("127.0.0.1:{port}"))];
        let names: Vec<String> = backends.iter().map(|b| b.to_uppercase()).collect();
        for (name, server) in names.iter().zip(&servers) {
            set.push((name, server.addr.to_string()));
        }
        let _proxy = Proxy::start(program, &example(file, &set));
        for (line, fields, body, wanted) in requests {
            let answer = ask(port, line, fields, body);
            assert_eq!(&answer.body, wanted, "{}: {line} {fields}", program.name);
        }
    });
}

#[test]
fn what_is_stored_has_a_pool_of_its_own() {
    leads(
        "switch-url-prefix.cfg",
        &["storage", "app"],
        &[
            ("GET /storage/a", "", "", "storage"),
            ("GET /archive", "", "", "storage"),
            ("GET /storage-plans", "", "", "app"),
            ("GET /", "", "", "app"),
        ],
    );
}

#[test]
fn files_are_known_by_their_extension() {
    leads(
        "switch-extension.cfg",
        &["files", "app"],
        &[
            ("GET /img/logo.PNG?v=2", "", "", "files"),
            ("GET /page.php?f=logo.png", "", "", "app"),
            ("PUT /img/logo.png", "", "new", "app"),
        ],
    );
}

#[test]
fn a_cookie_leads_to_its_version() {
    leads(
        "switch-cookie.cfg",
        &["next", "members", "guests"],
        &[
            ("GET /", "Cookie: a=b; version=next\r\n", "", "next"),
            (
                "GET /",
                "Cookie: version=last; session=1\r\n",
                "",
                "members",
            ),
            ("GET /", "Cookie: other=session\r\n", "", "guests"),
        ],
    );
}

#[test]
fn host_language_and_device_have_their_backends() {
    leads(
        "switch-header.cfg",
        &["api", "mobile", "korean", "app"],
        &[
            ("GET /", "Host: API.example:8080\r\n", "", "api"),
            ("GET /", "User-Agent: Phone Mobile/1\r\n", "", "mobile"),
            (
                "GET /",
                "Accept-Language: ko-KR,ko;q=0.9,en;q=0.5\r\n",
                "",
                "korean",
            ),
            ("GET /", "Accept-Language: en,ko;q=0.5\r\n", "", "app"),
        ],
    );
}

#[test]
fn a_header_chooses_the_scheduler() {
    each(|program| {
        let (one, two, port) = (named("one"), named("two"), port());
        let set = [
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("ONE", one.addr.to_string()),
            ("TWO", two.addr.to_string()),
        ];
        let _proxy = Proxy::start(program, &example("switch-scheduler.cfg", &set));
        let mut used = std::collections::HashSet::new();
        for session in 0..16 {
            let fields = format!("X-Session: {session}\r\n");
            let answers = [(); 3].map(|()| ask(port, "GET /", &fields, "").body);
            assert!(answers.iter().all(|a| *a == answers[0]), "{}", program.name);
            used.insert(answers[0].clone());
        }
        assert_eq!(used.len(), 2, "{}", program.name);
        let balanced: std::collections::HashSet<String> =
            (0..4).map(|_| ask(port, "GET /", "", "").body).collect();
        assert_eq!(balanced.len(), 2, "{}", program.name);
    });
}

#[test]
fn reading_and_writing_go_different_ways() {
    leads(
        "switch-method.cfg",
        &["replicas", "primary"],
        &[
            ("GET /item/7", "", "", "replicas"),
            ("PUT /item/7", "", "new", "primary"),
            ("DELETE /item/7", "", "", "primary"),
        ],
    );
}

#[test]
fn a_procedure_is_known_by_its_name_in_the_body() {
    leads(
        "switch-body.cfg",
        &["reports", "app"],
        &[
            (
                "POST /rpc",
                "",
                "{\"method\":\"report.monthly\"}",
                "reports",
            ),
            ("POST /rpc", "", "{\"method\":\"item.get\"}", "app"),
            ("GET /rpc", "", "", "app"),
        ],
    );
}

#[test]
fn sources_paths_and_headers_are_refused() {
    each(|program| {
        let (app, port, folder) = (named("app"), port(), lab::Folder::new());
        let blocked = folder.file("blocked", b"127.0.0.8/30\n");
        let set = [
            ("LISTEN", format!("127.0.0.1:{port}")),
            ("APP", app.addr.to_string()),
            ("BLOCKED", blocked),
        ];
        let text = example("block.cfg", &set);
        let _proxy = Proxy::start(program, &text);
        for (line, fields, wanted) in [
            ("GET /", "", 200),
            ("GET /x/..//.git/config", "", 404),
            ("GET /dump.SQL", "", 404),
            ("GET /", "User-Agent: SQLmap/1.7\r\n", 403),
        ] {
            let answer = ask(port, line, fields, "");
            assert_eq!(answer.status, wanted, "{}: {line} {fields}", program.name);
        }
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        let from = std::net::SocketAddr::from(([127, 0, 0, 9], 0));
        socket.bind(&from.into()).expect("an address of ours");
        let to = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        socket.connect(&to.into()).expect("it listens");
        let mut client = Client::of(socket.into());
        assert_eq!(
            client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status,
            0,
            "{}",
            program.name
        );
    });
}
