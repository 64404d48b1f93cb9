//! The files in `examples/`: both programs take each, and each does what it says.

use lab::{Client, Program, Proxy, Response, Server, each, get, port};
use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// An example with its variables set; what is not set keeps the value in the file.
fn example(name: &str, set: &[(&str, String)]) -> String {
    let text = std::fs::read_to_string(folder().join(name)).expect("an example");
    let set: HashMap<&str, &String> = set.iter().map(|(k, v)| (*k, v)).collect();
    // A control socket of its own is what the proving ground gives it.
    let lines = text.lines().filter(|l| !l.contains("stats socket"));
    let mut out = String::new();
    for line in lines {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("\"${") {
            let (variable, after) = after.split_once("}\"").expect("an end");
            let (name, default) = variable.split_once('-').expect("a default");
            out += before;
            out += set.get(name).map_or(default, |v| v);
            rest = after;
        }
        out += rest;
        out.push('\n');
    }
    out
}

fn here(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn ask(port: u16, path: &str, header: &str) -> Response {
    Client::connect(port).ask(&format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
    ))
}

#[test]
fn every_example_is_good() {
    each(|program| {
        let mut seen = 0;
        for entry in std::fs::read_dir(folder()).expect("examples") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "cfg") {
                let out = program
                    .command()
                    .current_dir(folder())
                    .args(["-c", "-f"])
                    .arg(&path)
                    .output()
                    .expect("it runs");
                let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
                assert!(out.status.success(), "{} {path:?}: {said}", program.name);
                assert!(
                    !said.contains("arning"),
                    "{} {path:?}: {said}",
                    program.name
                );
                seen += 1;
            }
        }
        assert!(seen >= 4);
    });
}

#[test]
fn an_address_has_its_connections_its_requests_and_its_errors() {
    each(|program| {
        let (web, trusted) = (port(), lab::Folder::new());
        let server = Server::start(|request, stream| {
            let status = if request.contains("/lost") { 404 } else { 200 };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok()
        });
        let file = trusted.file("trusted", b"127.0.0.9\n");
        let set = [
            ("LISTEN", here(web)),
            ("SERVER", server.addr.to_string()),
            ("TRUSTED", file),
        ];
        let proxy = Proxy::start(program, &example("limit-addresses.cfg", &set));
        let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(web)).collect();
        assert!(
            clients.iter_mut().all(|c| c.ask(request).status == 200),
            "{}",
            program.name
        );
        assert_eq!(get(web, "/").status, 0, "{}: one too many", program.name);
        for _ in 0..31 {
            clients[0].ask("GET /lost HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        assert_eq!(
            clients[1].ask(request).status,
            403,
            "{}: errors",
            program.name
        );
        proxy.control("set table clients key 127.0.0.1 data.http_err_rate 0");
        assert_eq!(
            clients[2].ask(request).status,
            200,
            "{}: forgiven",
            program.name
        );
        let slow = (0..100).map(|_| clients[3].ask(request).status);
        let slow: Vec<u16> = slow.collect();
        assert_eq!(slow.last(), Some(&429), "{}: {slow:?}", program.name);
    });
}

#[test]
fn a_url_may_be_asked_for_so_often() {
    each(|program| {
        let web = port();
        let server = Server::start(|request, stream| {
            let status = if request.contains("/broken") {
                500
            } else {
                200
            };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).is_ok()
        });
        let set = [("LISTEN", here(web)), ("SERVER", server.addr.to_string())];
        let _proxy = Proxy::start(program, &example("limit-urls.cfg", &set));
        let statuses =
            |path: &str, n: usize| -> Vec<u16> { (0..n).map(|_| get(web, path).status).collect() };
        assert_eq!(
            statuses("/report/1", 7),
            [200, 200, 200, 200, 200, 503, 503],
            "{}",
            program.name
        );
        assert_eq!(statuses("/report/2", 1), [200], "{}", program.name);
        let same = statuses("/page", 12);
        assert_eq!(
            same,
            [[200; 10].as_slice(), &[429; 2]].concat(),
            "{}",
            program.name
        );
        assert_eq!(statuses("/other", 1), [200], "{}", program.name);
        let broken = statuses("/broken", 8);
        assert_eq!(
            broken,
            [500, 500, 500, 500, 500, 500, 503, 503],
            "{}",
            program.name
        );
        assert_eq!(
            server.requests().len(),
            5 + 1 + 10 + 1 + 6,
            "{}",
            program.name
        );
    });
}

#[test]
fn a_token_has_the_rate_of_its_plan() {
    each(|program| {
        let web = port();
        let server = Server::named("api");
        let plans = folder().join("plans.map").to_string_lossy().into_owned();
        let set = [
            ("LISTEN", here(web)),
            ("SERVER", server.addr.to_string()),
            ("PLANS", plans),
        ];
        let proxy = Proxy::start(program, &example("limit-tokens.cfg", &set));
        let with = |key: &str| ask(web, "/", &format!("X-Api-Key: {key}\r\n"));
        for left in (0..5).rev() {
            let answer = with("silver-1");
            assert_eq!(answer.status, 200, "{}", program.name);
            assert_eq!(
                answer.header("x-left"),
                Some(left.to_string()),
                "{}",
                program.name
            );
        }
        let refused = with("silver-1");
        assert_eq!(refused.status, 429, "{}", program.name);
        assert_eq!(
            refused.header("x-limit").as_deref(),
            Some("5"),
            "{}",
            program.name
        );
        assert_eq!(
            with("gold-1").header("x-left").as_deref(),
            Some("7"),
            "{}",
            program.name
        );
        proxy.control("set table keys key silver-1 data.gpt0 100");
        assert_eq!(
            with("silver-1").header("x-left").as_deref(),
            Some("93"),
            "{}",
            program.name
        );
        let guesses: Vec<u16> = (0..7).map(|n| with(&format!("guess-{n}")).status).collect();
        assert_eq!(
            guesses,
            [401, 401, 401, 401, 401, 401, 403],
            "{}",
            program.name
        );
        assert_eq!(with("gold-1").status, 403, "{}: a guesser", program.name);
    });
}

#[test]
fn a_session_is_found_by_its_name() {
    each(|program| {
        let session = |name: &'static str| {
            Server::start(move |request, stream| {
                let cookie = match request.contains("/login") {
                    true => format!("Set-Cookie: JSESSIONID={name}-7; Path=/\r\n"),
                    false => String::new(),
                };
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{cookie}X-Server: {name}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).is_ok()
            })
        };
        let (one, two) = (session("one"), session("two"));
        let (web, imap, smtp) = (port(), port(), port());
        let set = [
            ("LISTEN", here(web)),
            ("IMAP", here(imap)),
            ("SMTP", here(smtp)),
            ("SERVER", one.addr.to_string()),
            ("SECOND", two.addr.to_string()),
        ];
        let _proxy = Proxy::start(program, &example("persistence.cfg", &set));
        let mut names = Vec::new();
        for _ in 0..2 {
            let answer = get(web, "/login");
            let name = answer.header("x-server").expect("a server");
            for _ in 0..3 {
                let cookie = format!("Cookie: a=b; JSESSIONID={name}-7\r\n");
                let by_cookie = ask(web, "/", &cookie).header("x-server");
                assert_eq!(by_cookie.as_ref(), Some(&name), "{}", program.name);
                let by_url = get(web, &format!("/x;jsessionid={name}-7;y=1")).header("x-server");
                assert_eq!(by_url.as_ref(), Some(&name), "{}", program.name);
            }
            names.push(name);
        }
        names.sort();
        assert_eq!(names, ["one", "two"], "{}", program.name);
        let read = get(imap, "/").header("x-server");
        for _ in 0..3 {
            assert_eq!(get(smtp, "/").header("x-server"), read, "{}", program.name);
        }
    });
}

#[test]
fn an_example_can_be_explained() {
    let file = folder().join("limit-urls.cfg");
    let (status, said) = Program::mulgil().run(&[
        "explain",
        "-f",
        &file.to_string_lossy(),
        "http://x/report/1",
    ]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("track-sc0 path table pages"), "{said}");
}
