//! `cookie` in every mode with its words, over many requests: mulgil does what the oracle does.

use lab::{Client, LogSink, Program, Proxy, Server, each, port};
use std::cell::RefCell;
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
        let cache = field("x-cache").map_or(String::new(), |v| format!("Cache-Control: {v}\r\n"));
        let saw = field("cookie").unwrap_or_default();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Server: {name}\r\nX-Saw: {saw}\r\n{cache}{set}\r\n"
        )
        .is_ok()
    })
}

/// What a client and the log see of one request: letters, server, what that saw, what was set.
fn ask(port: u16, log: &LogSink, method: &str, path: &str, fields: &str) -> String {
    let mut client = Client::connect(port);
    let answer = client.ask(&format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n{fields}\r\n"
    ));
    let line = log.line("flags=");
    let flags = line.split("flags=").nth(1).unwrap_or("").to_string();
    let kept = |name: &str| {
        name.eq_ignore_ascii_case("set-cookie") || name.eq_ignore_ascii_case("cache-control")
    };
    let set: Vec<String> = answer
        .head
        .lines()
        .filter_map(|l| l.split_once(": "))
        .filter(|(n, _)| kept(n))
        .map(|(_, v)| undated(v))
        .collect();
    let server = answer.header("x-server").unwrap_or_default();
    let saw = undated(&answer.header("x-saw").unwrap_or_default());
    format!("{} {flags} {server} saw=[{saw}] set={set:?}", answer.status)
}

/// Dates in cookies differ from run to run: five characters after a bar.
fn undated(text: &str) -> String {
    let mut parts = text.split('|');
    let first = parts.next().unwrap_or("").to_string();
    parts.fold(first, |out, part| match part.get(5..) {
        Some(rest) => format!("{out}|DATE{rest}"),
        None => format!("{out}|{part}"),
    })
}

const REQUESTS: &[(&str, &str, &str)] = &[
    ("GET", "/", ""),
    ("POST", "/", ""),
    ("GET", "/", "X-Cache: max-age=9\r\n"),
    ("GET", "/", "X-Cache: no-store\r\n"),
    ("GET", "/", "Cookie: SRV=two\r\n"),
    ("POST", "/", "Cookie: SRV=two\r\n"),
    ("GET", "/", "Cookie: SRV=two\r\nX-Cache: max-age=9\r\n"),
    ("GET", "/", "Cookie: SRV=two; SRV=one\r\n"),
    ("GET", "/", "Cookie: a=b; SRV=two; c=d\r\n"),
    ("GET", "/", "Cookie: a=b\r\nCookie: SRV=two\r\n"),
    ("GET", "/", "Cookie: SRV=\"two\"\r\n"),
    ("GET", "/", "Cookie: SRV=\r\n"),
    ("GET", "/", "Cookie: SRV\r\n"),
    ("GET", "/", "Cookie: srv=two\r\n"),
    ("GET", "/", "Cookie: SRV=two~x\r\n"),
    ("GET", "/", "Cookie: SRV=two~\r\n"),
    ("GET", "/", "Cookie: SRV=~x\r\n"),
    ("GET", "/", "Cookie: SRV=nobody\r\n"),
    ("GET", "/", "Cookie: SRV=off\r\n"),
    ("GET", "/", "Cookie: SRV=gone\r\n"),
    ("GET", "/", "Cookie: SRV=two|AAAAB\r\n"),
    ("GET", "/", "Cookie: SRV=two||AAAAB\r\n"),
    ("GET", "/", "Cookie: SRV=two|zzzzz\r\n"),
    ("GET", "/", "Cookie: SRV=two|junk\r\n"),
    ("GET", "/", "X-Set: SRV=x; path=/\r\n"),
    ("GET", "/", "X-Set: SRV=; path=/\r\n"),
    ("GET", "/", "X-Set: other=x; path=/\r\n"),
    ("GET", "/", "X-Set: srv=x\r\n"),
    ("GET", "/", "Cookie: SRV=two\r\nX-Set: SRV=x; path=/\r\n"),
    ("GET", "/", "Cookie: SRV=two~y\r\nX-Set: SRV=x; path=/\r\n"),
    ("GET", "/ignore", "Cookie: SRV=two\r\n"),
    ("GET", "/force", "Cookie: SRV=off\r\n"),
    ("GET", "/force", "Cookie: SRV=two\r\n"),
    ("GET", "/ignore", ""),
    ("GET", "/use", "Cookie: SRV=two\r\n"),
    ("GET", "/use", "Cookie: SRV=one\r\n"),
    ("GET", "/use", "Cookie: SRV=off\r\n"),
    ("GET", "/use", "Cookie: SRV=two|AAAAB\r\n"),
    ("GET", "/use", ""),
];

/// What came of all requests with these lines.
fn story(program: &Program, lines: &str) -> Vec<String> {
    let (one, two) = (server("one"), server("two"));
    let (log, port) = (LogSink::new(), port());
    let _proxy = Proxy::start(
        program,
        &format!(
            "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 200ms\n    retries 1\n\
             frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"flags=%tsc\"\n    default_backend b\n\
             backend b\n    option redispatch\n    ignore-persist if {{ path /ignore }}\n    force-persist if {{ path /force }}\n    use-server s1 if {{ path /use }}\n{lines}\
             \n    server s1 {} cookie one\n    server s2 {} cookie two\n    server s3 127.0.0.1:1 cookie off disabled\n    server s4 127.0.0.1:1 cookie gone weight 0\n",
            log.port, one.addr, two.addr
        ),
    );
    let asked = REQUESTS.iter().map(|(method, path, fields)| {
        let what = fields.replace("\r\n", " ");
        format!(
            "{method} {path} {what}=> {}",
            ask(port, &log, method, path, fields)
        )
    });
    asked.collect()
}

/// Both programs tell the same story with each of these lines.
fn same(all: &[&str]) {
    for lines in all {
        let before = RefCell::new(None::<Vec<String>>);
        each(|program| {
            let now = story(program, &format!("    {lines}"));
            let Some(oracle) = before.replace(Some(now.clone())) else {
                return;
            };
            let differ: Vec<String> = oracle
                .iter()
                .zip(&now)
                .filter(|(a, b)| a != b)
                .map(|(a, b)| format!("oracle {a}\nmulgil {b}"))
                .collect();
            assert!(differ.is_empty(), "{lines}\n{}", differ.join("\n"));
        });
    }
}

#[test]
fn a_cookie_that_is_inserted() {
    same(&[
        "cookie SRV insert",
        "cookie SRV insert indirect",
        "cookie SRV insert nocache",
        "cookie SRV insert postonly",
        "cookie SRV insert preserve",
        "cookie SRV insert indirect preserve nocache",
        "cookie SRV insert postonly indirect nocache",
    ]);
}

#[test]
fn a_cookie_with_attributes_and_dates() {
    same(&[
        "cookie SRV insert httponly secure domain .a.b domain c.d attr SameSite=Lax attr Priority=High",
        "cookie SRV insert maxidle 1h",
        "cookie SRV insert maxlife 1h",
        "cookie SRV insert indirect maxidle 1h maxlife 8h",
    ]);
}

#[test]
fn a_cookie_of_the_application() {
    same(&[
        "cookie SRV rewrite",
        "cookie SRV rewrite nocache",
        "cookie SRV prefix indirect preserve",
        "cookie SRV prefix",
        "cookie SRV prefix nocache",
        "cookie SRV prefix indirect",
    ]);
}

#[test]
fn a_cookie_that_is_only_read_and_persistence_to_servers_that_are_down() {
    same(&[
        "cookie SRV",
        "cookie SRV indirect",
        "cookie SRV insert indirect\n    option persist",
        "cookie SRV insert indirect\n    no option redispatch",
        "cookie SRV insert dynamic\n    dynamic-cookie-key secret",
        "cookie SRV insert nocache\n    balance hdr(x-none)",
    ]);
}
