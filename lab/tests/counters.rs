//! What the statistics count of each event, beside the oracle: field by field, row by row.

use lab::{PATIENCE, Program, Proxy, Server, port, refusing};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// The fields compared: numbers that an event moves at once.
const FIELDS: &str = "stot dreq dresp ereq econ eresp wretr wredis lbtot hrsp_1xx hrsp_2xx hrsp_3xx \
    hrsp_4xx hrsp_5xx hrsp_other req_tot cli_abrt srv_abrt conn_tot intercepted dcon dses connect \
    reuse comp_in comp_rsp";

/// What moved: proxy, row and field, and by how much.
type Moved = BTreeMap<String, i64>;

const CONFIG: &str = "
defaults
    mode http
    timeout client 1s
    timeout server 1s
    timeout connect 100ms
    retries 2
frontend f
    bind 127.0.0.1:PORT0
    http-request deny if { path /deny }
    http-request return status 200 if { path /return }
    http-request redirect location / if { path /redirect }
    monitor-uri /monitor
    use_backend dead if { path /dead }
    use_backend elsewhere if { path /elsewhere }
    use_backend cookie if { path /cookie }
    use_backend again if { path /again }
    use_backend none if { path /none }
    use_backend zip if { path /zip }
    default_backend b
backend b
    http-response deny if { status 302 }
    server s ORIGIN
backend dead
    server d DEAD
backend elsewhere
    option redispatch
    server d DEAD
    server s ORIGIN
backend cookie
    option redispatch
    cookie A
    server d DEAD cookie d
    server s ORIGIN cookie s
backend again
    retry-on 500
    option redispatch
    server s ORIGIN
    server t ORIGIN
backend none
backend zip
    compression algo gzip
    compression type text/plain
    server s ORIGIN
frontend connection
    bind 127.0.0.1:PORT1
    tcp-request connection reject
    default_backend b
frontend session
    bind 127.0.0.1:PORT2
    tcp-request session reject
    default_backend b
listen bytes
    mode tcp
    bind 127.0.0.1:PORT3
    server s ORIGIN
listen unreachable
    mode tcp
    bind 127.0.0.1:PORT4
    server d DEAD
listen moved
    mode tcp
    option redispatch
    bind 127.0.0.1:PORT5
    server d DEAD
    server s ORIGIN
listen page
    bind 127.0.0.1:PORT6
    stats enable
    stats uri /
";

fn origin() -> Server {
    Server::start(|request, stream| {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let status = match path {
            "/garbage" => {
                let _ = stream.write_all(b"garbage\r\n\r\n");
                return false;
            }
            "/reset" => return false,
            "/404" => "404 Not Found",
            "/500" | "/again" => "500 Internal Server Error",
            "/302" => "302 Found",
            _ => "200 OK",
        };
        let body = "x".repeat(500);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 500\r\n\r\n{body}"
        )
        .is_ok()
    })
}

fn rows(proxy: &Proxy) -> Moved {
    let text = proxy.control("show stat");
    let mut lines = text.trim_start_matches("# ").lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let mut all = Moved::new();
    for line in lines {
        let values: Vec<&str> = line.split(',').collect();
        for (name, value) in names.iter().zip(&values) {
            if FIELDS.split_whitespace().any(|f| f == *name) {
                let key = format!("{}/{} {name}", values[0], values[1]);
                all.insert(key, value.parse().unwrap_or(0));
            }
        }
    }
    all
}

/// Sends it and reads until the other end closes or says nothing more; a client that leaves at once
/// does not read.
fn send(port: u16, bytes: &[u8], leaves: bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let _ = stream.set_read_timeout(Some(PATIENCE));
    // A connection that is refused may be gone before anything is written.
    let _ = stream.write_all(bytes);
    if leaves {
        std::thread::sleep(Duration::from_millis(100));
        let _ = stream.shutdown(Shutdown::Both);
    } else {
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

/// What each event moved.
fn moved(program: &Program, events: &[(&str, usize, String)]) -> Vec<Moved> {
    let (server, dead) = (origin(), refusing());
    let ports: Vec<u16> = (0..7).map(|_| port()).collect();
    let mut config = CONFIG
        .replace("ORIGIN", &server.addr.to_string())
        .replace("DEAD", &format!("127.0.0.1:{dead}"));
    for (at, port) in ports.iter().enumerate() {
        config = config.replace(&format!("PORT{at}"), &port.to_string());
    }
    let proxy = Proxy::start(program, &config);
    let mut before = rows(&proxy);
    let mut all = Vec::new();
    for (name, port, bytes) in events {
        send(ports[*port], bytes.as_bytes(), name.starts_with("leaves"));
        // Counting ends when the session does, which the client does not see.
        let mut after = rows(&proxy);
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            let now = rows(&proxy);
            let still = now == after && now != before;
            after = now;
            if still {
                break;
            }
        }
        let since = |(key, value): (&String, &i64)| {
            let by = value - before.get(key).unwrap_or(&0);
            (by != 0).then(|| (key.clone(), by))
        };
        all.push(after.iter().filter_map(since).collect());
        before = after;
    }
    all
}

#[test]
fn every_event_is_counted_as_the_oracle_counts_it() {
    let Some(oracle) = Program::haproxy() else {
        println!("haproxy is not installed: there is nothing to compare with");
        return;
    };
    let get = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: A=d\r\nAccept-Encoding: gzip\r\n\r\n"
        )
    };
    let mut events: Vec<(&str, usize, String)> = [
        "/",
        "/404",
        "/500",
        "/302",
        "/deny",
        "/return",
        "/redirect",
        "/monitor",
        "/dead",
        "/elsewhere",
        "/cookie",
        "/again",
        "/none",
        "/zip",
        "/garbage",
        "/reset",
    ]
    .map(|path| (path, 0, get(path)))
    .to_vec();
    events.extend([
        ("malformed", 0, "BAD\r\n\r\n".into()),
        ("slow head", 0, "GET / HTTP/1.1\r\nHost: x\r\nA".into()),
        ("leaves without a word", 0, String::new()),
        (
            "leaves with half a body",
            0,
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".into(),
        ),
        (
            "three on one connection",
            0,
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3),
        ),
        (
            "malformed behind a good one",
            0,
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nBAD\r\n\r\n".into(),
        ),
        ("connection refused by a rule", 1, get("/")),
        ("session refused by a rule", 2, get("/")),
        ("bytes", 3, get("/reset")),
        ("bytes to nowhere", 4, get("/")),
        ("bytes elsewhere", 5, get("/reset")),
        ("page", 6, get("/")),
    ]);
    let (wanted, got) = (moved(&oracle, &events), moved(&Program::mulgil(), &events));
    let mut wrong = Vec::new();
    for ((event, wanted), got) in events.iter().zip(&wanted).zip(&got) {
        let mut wanted = wanted.clone();
        if event.0 == "/again" {
            // 2.6 counts each retry of a response both as one and as a redispatch.
            wanted.retain(|field, _| !field.ends_with("wretr"));
        }
        let all = wanted.keys().chain(got.keys());
        for field in all.collect::<std::collections::BTreeSet<_>>() {
            let (w, g) = (
                wanted.get(field).unwrap_or(&0),
                got.get(field).unwrap_or(&0),
            );
            if w != g {
                wrong.push(format!("{}: {field} is {g}, not {w}", event.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
