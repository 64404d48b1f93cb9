//! Clients led back to their servers by cookies, the same through mulgil and through the oracle.

use lab::{Client, LogSink, Proxy, Server, each, port};
use std::io::Write;

/// Says who it is and which cookies came, and sets what `X-Set` asks for.
fn server(name: &'static str) -> Server {
    Server::start(move |request, stream| {
        let field = |wanted: &str| {
            request.lines().find_map(|l| {
                let (n, v) = l.split_once(':')?;
                n.eq_ignore_ascii_case(wanted).then(|| v.trim().to_string())
            })
        };
        let set = field("x-set").map_or(String::new(), |v| format!("Set-Cookie: {v}\r\n"));
        let saw = field("cookie").unwrap_or_default();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Server: {name}\r\nX-Saw: {saw}\r\nCache-Control: max-age=9\r\n{set}\r\n"
        )
        .is_ok()
    })
}

/// Asks with these fields; the log's cookie letters and captures, who answered, what it saw, and the
/// cookies set.
fn ask(port: u16, log: &LogSink, path: &str, fields: &str) -> String {
    let mut client = Client::connect(port);
    let answer = client.ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n"
    ));
    let line = log.line("cookies=");
    let flags = line.split("cookies=").nth(1).unwrap_or("").to_string();
    let set: Vec<String> = answer
        .head
        .lines()
        .filter_map(|l| l.split_once(": "))
        .filter(|(n, v)| n.eq_ignore_ascii_case("set-cookie") || *v == "private")
        .map(|(_, v)| v.to_string())
        .collect();
    let text = format!(
        "{} {flags} {} saw=[{}] set={set:?}",
        answer.status,
        answer.header("x-server").unwrap_or_default(),
        answer.header("x-saw").unwrap_or_default(),
    );
    // Dates in cookies differ from run to run: five characters after a bar.
    let mut parts = text.split('|');
    let first = parts.next().unwrap_or("").to_string();
    parts.fold(first, |out, part| match part.get(5..) {
        Some(rest) if !part.starts_with(' ') => format!("{out}|DATE{rest}"),
        _ => format!("{out}|{part}"),
    })
}

/// Runs requests (path, fields) through a backend with these lines, and compares.
fn compare(back: &str, cases: &[(&str, &str, &str)]) {
    each(|program| {
        let (one, two) = (server("one"), server("two"));
        let (log, port) = (LogSink::new(), port());
        let _proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 500ms\n    retries 1\n\
                 frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"cookies=%tsc %CC %CS\"\n    capture cookie SRV= len 20\n    default_backend b\n\
                 backend b\n    option redispatch\n{back}    server s1 {} cookie one\n    server s2 {} cookie two\n    server s3 127.0.0.1:1 cookie off disabled\n",
                log.port, one.addr, two.addr
            ),
        );
        for (path, fields, wanted) in cases {
            let found = ask(port, &log, path, fields);
            assert_eq!(&found, wanted, "{}: {back}{path} {fields}", program.name);
        }
    });
}

#[test]
fn an_inserted_cookie_leads_back_and_stays_unseen_by_the_server() {
    compare(
        "    cookie SRV insert indirect nocache httponly secure domain .a.b attr SameSite=Lax\n",
        &[
            (
                "/",
                "",
                "200 --NI - - one saw=[] set=[\"SRV=one; path=/; domain=.a.b; HttpOnly; Secure; SameSite=Lax\", \"private\"]",
            ),
            (
                "/",
                "Cookie: SRV=two\r\n",
                "200 --VN SRV=two - two saw=[] set=[]",
            ),
            (
                "/",
                "Cookie: a=b; SRV=two; c=d\r\n",
                "200 --VN SRV=two - two saw=[a=b; c=d] set=[]",
            ),
            (
                "/",
                "Cookie: SRV=nobody\r\n",
                "200 --II SRV=nobody - two saw=[] set=[\"SRV=two; path=/; domain=.a.b; HttpOnly; Secure; SameSite=Lax\", \"private\"]",
            ),
            (
                "/",
                "Cookie: SRV=off\r\n",
                "200 --DI SRV=off - one saw=[] set=[\"SRV=one; path=/; domain=.a.b; HttpOnly; Secure; SameSite=Lax\", \"private\"]",
            ),
            (
                "/",
                "Cookie: SRV=two\r\nX-Set: SRV=x; path=/\r\n",
                "200 --VD SRV=two SRV=x two saw=[] set=[]",
            ),
        ],
    );
}

#[test]
fn a_cookie_of_the_application_is_rewritten_or_prefixed() {
    compare(
        "    cookie SRV rewrite\n",
        &[
            (
                "/",
                "X-Set: SRV=x; path=/\r\n",
                "200 --NR - SRV=x one saw=[] set=[\"SRV=one; path=/\"]",
            ),
            (
                "/",
                "Cookie: SRV=two\r\n",
                "200 --VN SRV=two - two saw=[SRV=two] set=[]",
            ),
        ],
    );
    compare(
        "    cookie SRV prefix\n",
        &[
            (
                "/",
                "X-Set: SRV=x; path=/\r\n",
                "200 --NR - SRV=x one saw=[] set=[\"SRV=one~x; path=/\"]",
            ),
            (
                "/",
                "Cookie: a=b; SRV=two~x; c=d\r\n",
                "200 --VN SRV=two~x - two saw=[a=b; SRV=x; c=d] set=[]",
            ),
            (
                "/",
                "Cookie: SRV=nobody~x\r\n",
                "200 --IN SRV=nobody~x - two saw=[SRV=x] set=[]",
            ),
        ],
    );
}

#[test]
fn rules_can_ignore_or_force_persistence_and_choose_a_server_first() {
    compare(
        "    cookie SRV insert indirect\n    ignore-persist if { path /ignore }\n    force-persist if { path /force }\n    use-server s1 if { path /use }\n",
        &[
            (
                "/use",
                "Cookie: SRV=two\r\n",
                "200 --UN SRV=two - one saw=[] set=[]",
            ),
            (
                "/ignore",
                "Cookie: SRV=off\r\n",
                "200 --UN SRV=off - one saw=[] set=[]",
            ),
            (
                "/force",
                "Cookie: SRV=two\r\n",
                "200 --VN SRV=two - two saw=[] set=[]",
            ),
            ("/use", "", "200 --NN - - one saw=[] set=[]"),
        ],
    );
}

#[test]
fn cookies_grow_old() {
    // A date of 1970, in units of four seconds.
    compare(
        "    cookie SRV insert indirect maxidle 1h maxlife 90d\n",
        &[
            (
                "/",
                "",
                "200 --NI - - one saw=[] set=[\"SRV=one|DATE|DATE; path=/\"]",
            ),
            (
                "/",
                "Cookie: SRV=two\r\n",
                "200 --VU SRV=two - two saw=[] set=[\"SRV=two|DATE|DATE; path=/\"]",
            ),
            (
                "/",
                "Cookie: SRV=two|AAAAB\r\n",
                "200 --EI SRV=two|DATE - two saw=[] set=[\"SRV=two|DATE|DATE; path=/\"]",
            ),
            (
                "/",
                "Cookie: SRV=two||AAAAB\r\n",
                "200 --OI SRV=two||DATE - one saw=[] set=[\"SRV=one|DATE|DATE; path=/\"]",
            ),
        ],
    );
}

/// By a cookie with a name, by one that is computed, and by a stick table.
#[test]
fn a_reload_that_changes_the_order_of_servers_leaves_clients_where_they_are() {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    const BACKENDS: [&str; 3] = [
        "cookie S insert indirect",
        "cookie S insert indirect dynamic\n    dynamic-cookie-key secret",
        "stick-table type string len 8 size 100\n    stick on url_param(u)",
    ];
    let servers = NAMES.map(Server::named);
    let ports = BACKENDS.map(|_| lab::port());
    let text = |order: &[usize]| {
        let mut text = String::from(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n",
        );
        for ((lines, port), name) in BACKENDS.iter().zip(ports).zip(["x", "y", "z"]) {
            text += &format!("listen {name}\n    bind 127.0.0.1:{port}\n    {lines}\n");
            for at in order {
                let (name, addr) = (NAMES[*at], servers[*at].addr);
                let cookie = if lines.starts_with("cookie") && !lines.contains("dynamic") {
                    format!("cookie {name}")
                } else {
                    String::new()
                };
                text += &format!("    server {name} {addr} {cookie}\n");
            }
        }
        text
    };
    let proxy = Proxy::start(&lab::Program::mulgil(), &text(&[0, 1, 2]));
    let ask = |port: u16, user: usize, cookie: &str| {
        lab::Client::connect(port).ask(&format!(
            "GET /?u={user} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"
        ))
    };
    let server = |response: &lab::Response| response.header("x-server").expect("an answer");
    let mut clients = Vec::new();
    for port in ports {
        for user in 0..6 {
            let response = ask(port, user, "o=1");
            let set = response.header("set-cookie").unwrap_or_default();
            let cookie = set.split(';').next().unwrap_or_default().to_string();
            clients.push((port, user, cookie, server(&response)));
        }
    }
    for order in [&[2, 1, 0][..], &[1, 2, 0], &[0, 2, 1]] {
        let head = std::fs::read_to_string(&proxy.file).expect("the file");
        let head: Vec<&str> = head.lines().take(3).collect();
        let new = format!("{}\n{}", head.join("\n"), text(order));
        std::fs::write(&proxy.file, new).expect("written");
        proxy.control("reload");
        for (port, user, cookie, before) in &clients {
            let now = server(&ask(*port, *user, cookie));
            assert_eq!(now, *before, "{order:?}: {port} {user} {cookie}");
        }
    }
}
