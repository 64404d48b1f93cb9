//! `balance` and `hash-type`: which server a request goes to, beside the oracle.

use lab::{Client, Program, Proxy, Server, each, port};
use std::fmt::Write;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Four servers of weights that make an uneven map, behind these lines.
struct Farm {
    servers: Vec<Server>,
    port: u16,
    _proxy: Proxy,
}

impl Farm {
    fn start(program: &Program, mode: &str, lines: &str, words: [&str; 4]) -> Farm {
        let servers: Vec<Server> = NAMES.iter().map(|name| Server::named(name)).collect();
        let port = port();
        let mut config = format!(
            "defaults\n    mode {mode}\n    timeout client 2s\n    timeout server 2s\n    timeout connect 500ms\n\
             frontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n{lines}"
        );
        for ((server, name), words) in servers.iter().zip(NAMES).zip(words) {
            let _ = writeln!(config, "    server {name} {} {words}", server.addr);
        }
        let proxy = Proxy::start(program, &config);
        Farm {
            servers,
            port,
            _proxy: proxy,
        }
    }

    /// The name of the server that answers each of these requests, on one connection.
    fn answers(&self, requests: &[String]) -> String {
        let mut client = Client::connect(self.port);
        let mut names = String::new();
        for request in requests {
            let name = client.ask(request).header("x-server");
            names.push_str(name.as_deref().unwrap_or("-"));
        }
        names
    }
}

/// Every program gives the same servers to the same requests; what they were.
fn same(lines: &str, words: [&str; 4], requests: &[String]) -> String {
    let seen = std::cell::RefCell::new(None::<String>);
    each(|program| {
        let farm = Farm::start(program, "http", lines, words);
        let now = farm.answers(requests);
        let before = seen.borrow_mut().replace(now.clone());
        if let Some(before) = before {
            assert_eq!(now, before, "{} after the oracle: {lines}", program.name);
        }
        assert_eq!(farm.servers.len(), 4);
    });
    seen.into_inner().unwrap_or_default()
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: www.example.com\r\n{fields}\r\n")
}

const UNEVEN: [&str; 4] = ["weight 3", "weight 7", "weight 1", "weight 4"];

#[test]
fn a_map_leads_the_same_key_to_the_same_server_with_every_function() {
    let requests: Vec<String> = (0..60).map(|n| get(&format!("/?k=key{n}"), "")).collect();
    for function in [
        "",
        "map-based",
        "map-based sdbm",
        "map-based djb2",
        "map-based crc32",
        "map-based sdbm avalanche",
        "map-based djb2 avalanche",
        "map-based crc32 avalanche",
    ] {
        let line = match function {
            "" => String::new(),
            f => format!("    hash-type {f}\n"),
        };
        let answers = same(
            &format!("    balance url_param k\n{line}"),
            UNEVEN,
            &requests,
        );
        for name in NAMES {
            assert!(answers.contains(name), "{function}: {answers}");
        }
    }
}

#[test]
fn of_a_uri_the_same_part_is_hashed() {
    let targets = [
        "/",
        "/a",
        "/a/b",
        "/a/b/c",
        "/a/b/c/d?x=1",
        "/a?x=1",
        "/a?x=2",
        "/a//b",
        "/a/b/",
        "//a",
        "/abcdefgh",
        "/abcdefgi",
        "http://www.example.com/a/b",
        "http://www.example.com/a/b?x=1",
        "http://www.example.com",
        "/a;b/c",
        "/a%2fb/c",
        "/?/a/b",
    ];
    let requests: Vec<String> = targets.iter().map(|t| get(t, "")).collect();
    for words in [
        "",
        "whole",
        "len 5",
        "depth 1",
        "depth 2",
        "depth 3",
        "path-only",
        "whole path-only",
        "len 3 depth 2",
        "whole depth 1",
        "whole len 4",
        "path-only depth 1",
        "path-only len 4",
    ] {
        same(
            &format!("    balance uri {words}\n    hash-type map-based djb2 avalanche\n"),
            UNEVEN,
            &requests,
        );
    }
}

#[test]
fn of_a_header_the_same_part_is_hashed() {
    let hosts = [
        "www.example.com",
        "example.com",
        "a.b.example.org:8080",
        "localhost",
        "10.1.2.3",
        "x.y",
        "x.",
        "WWW.Example.Com",
        "[::1]:80",
    ];
    let requests: Vec<String> = hosts
        .iter()
        .map(|host| get("/", &format!("X-Key: {host}\r\n")))
        .collect();
    for words in ["", "use_domain_only"] {
        same(
            &format!("    balance hdr(x-key) {words}\n    hash-type map-based djb2 avalanche\n"),
            UNEVEN,
            &requests,
        );
    }
}

#[test]
fn of_a_parameter_the_same_value_is_hashed_also_from_a_body() {
    let mut requests: Vec<String> = [
        "/?k=1",
        "/?j=2&k=3",
        "/?k=a%20b",
        "/?k=a+b",
        "/?xk=1&k=7",
        "/?k=x;y",
        "/?k=&k=1",
        "/?k",
        "/?K=1",
        "/?k=1&k=2",
        "/?a&k=3",
    ]
    .iter()
    .map(|t| get(t, ""))
    .collect();
    let bodies = ["k=1", "j=9&k=zzz", "k=a%20b&j=1"];
    requests.extend(bodies.iter().map(|body| {
        let fields = format!("Content-Length: {}\r\n", body.len());
        get("/", &fields).replacen("GET", "POST", 1) + body
    }));
    same(
        "    balance url_param k check_post\n    hash-type map-based djb2 avalanche\n",
        UNEVEN,
        &requests,
    );
}

#[test]
fn of_an_expression_the_same_value_is_hashed() {
    let requests: Vec<String> = (0..20)
        .map(|n| get(&format!("/p{n}?n={n}"), &format!("X-Ip: 10.1.{n}.7\r\n")))
        .collect();
    for expression in [
        "path",
        "path,lower",
        "url_param(n)",
        "url_param(n),mul(7)",
        "req.hdr_ip(x-ip)",
        "req.hdr_ip(x-ip),ipmask(24)",
        "src",
        "path,crc32",
        "url_param(n),bool",
        "str(x)",
        "path,sha1",
    ] {
        same(
            &format!("    balance hash {expression}\n    hash-type map-based djb2 avalanche\n"),
            UNEVEN,
            &requests,
        );
    }
}

#[test]
fn what_has_no_key_goes_round() {
    let requests: Vec<String> = (0..12).map(|_| get("/", "")).collect();
    for lines in [
        "    balance url_param k\n",
        "    balance hdr(x-key)\n",
        "    balance hash req.hdr(x-key)\n",
    ] {
        let answers = same(lines, [""; 4], &requests);
        for name in NAMES {
            assert_eq!(answers.matches(name).count(), 3, "{lines}: {answers}");
        }
    }
}

#[test]
fn static_turns_come_in_the_same_order() {
    let requests: Vec<String> = (0..30).map(|_| get("/", "")).collect();
    let answers = same("    balance static-rr\n", UNEVEN, &requests);
    assert_eq!(answers.matches('b').count(), 14);
}

#[test]
fn a_source_address_leads_to_the_same_server() {
    let seen = std::cell::RefCell::new(Vec::<String>::new());
    each(|program| {
        for function in ["sdbm", "djb2 avalanche", "crc32"] {
            let lines = format!("    balance source\n    hash-type map-based {function}\n");
            let farm = Farm::start(program, "http", &lines, UNEVEN);
            let from = |last: u8| {
                let mut client = Client::connect_from([127, 0, 0, last], farm.port);
                let name = client.ask(&get("/", "")).header("x-server");
                name.unwrap_or_default()
            };
            seen.borrow_mut().push((1..40).map(from).collect());
        }
    });
    let seen = seen.into_inner();
    if let [a, b, c, d, e, f] = &seen[..] {
        assert_eq!([a, b, c], [d, e, f]);
    }
}

/// The first packet of RDP with this cookie.
fn rdp(cookie: &str) -> Vec<u8> {
    let text = format!("Cookie: {cookie}\r\n");
    let x224 = [(6 + text.len()) as u8, 0xe0, 0, 0, 0, 0, 0];
    let all = (4 + x224.len() + text.len()) as u16;
    [&[3, 0], &all.to_be_bytes()[..], &x224, text.as_bytes()].concat()
}

#[test]
fn an_rdp_cookie_leads_to_the_same_server_and_a_token_to_its_own() {
    let inspect =
        "    tcp-request inspect-delay 2s\n    tcp-request content accept if { req.len gt 20 }\n";
    let seen = std::cell::RefCell::new(Vec::<String>::new());
    each(|program| {
        // A server of RDP that only says who it is.
        let servers: Vec<std::net::TcpListener> = NAMES.iter().map(|_| lab::listener()).collect();
        let addrs: Vec<_> = servers
            .iter()
            .map(|s| s.local_addr().expect("an address"))
            .collect();
        for (listener, name) in servers.into_iter().zip(NAMES) {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                for mut stream in listener.incoming().flatten() {
                    let mut packet = [0; 512];
                    let _ = stream.read(&mut packet);
                    let _ = stream.write_all(name.as_bytes());
                }
            });
        }
        let port = port();
        let mut config = format!(
            "defaults\n    mode tcp\n    timeout client 2s\n    timeout server 2s\n    timeout connect 500ms\n\
             listen l\n    bind 127.0.0.1:{port}\n{inspect}    persist rdp-cookie\n    balance rdp-cookie\n    hash-type map-based djb2 avalanche\n"
        );
        for ((addr, name), words) in addrs.iter().zip(NAMES).zip(UNEVEN) {
            let _ = writeln!(config, "    server {name} {addr} {words}");
        }
        let _proxy = Proxy::start(program, &config);
        let ask = |cookie: &str| {
            use std::io::Read;
            let mut client = Client::connect(port);
            client.send(rdp(cookie));
            let mut name = String::new();
            let _ = client.stream.read_to_string(&mut name);
            name
        };
        let hashed: String = (0..30).map(|n| ask(&format!("mstshash=user{n}"))).collect();
        for (addr, name) in addrs.iter().zip(NAMES) {
            let token = format!(
                "msts={}.{}.0000",
                u32::from_le_bytes([127, 0, 0, 1]),
                addr.port().swap_bytes()
            );
            assert_eq!(ask(&token), name, "{}: {token}", program.name);
        }
        seen.borrow_mut().push(hashed);
    });
    let seen = seen.into_inner();
    assert!(seen.windows(2).all(|w| w[0] == w[1]), "{seen:?}");
    assert!(NAMES.iter().all(|n| seen[0].contains(n)), "{seen:?}");
}
