//! The statistics page beside the oracle's, and the tools that look at a configuration or talk to
//! a process: `explain`, `ctl`.

use lab::{Client, Folder, Program, Proxy, each, port};

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

fn ask(port: u16, request: &str, body: &str) -> lab::Response {
    let mut client = Client::connect(port);
    let length = match body.len() {
        0 => String::new(),
        n => format!("Content-Length: {n}\r\n"),
    };
    client.ask(&format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n{body}"
    ))
}

#[test]
fn the_page_has_its_forms_its_rules_and_its_refresh() {
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server a 127.0.0.1:21001\n    stats uri /st\n    stats refresh 7s\n    stats scope .\n    stats show-legends\n    stats show-node mynode\n    stats show-desc my words\n    stats http-request deny if {{ path_end /no }}\nbackend unseen\n    server z 127.0.0.1:21002\n"
            ),
        );
        let get = |path: &str| ask(port, &format!("GET {path}"), "");
        let page = get("/st");
        assert_eq!(page.status, 200, "{}", program.name);
        assert_eq!(
            page.header("refresh").as_deref(),
            Some("7"),
            "{}",
            program.name
        );
        assert_eq!(
            page.header("content-type").as_deref(),
            Some("text/html"),
            "{}",
            program.name
        );
        for part in ["mynode", "my words"] {
            assert!(page.body.contains(part), "{}: {part}", program.name);
        }
        assert!(!page.body.contains("unseen"), "{}", program.name);
        assert!(
            !page.body.contains("name=\"action\"") && !page.body.contains("name=action"),
            "{}",
            program.name
        );
        assert_eq!(
            get("/st;norefresh").header("refresh"),
            None,
            "{}",
            program.name
        );
        for (path, kind, begins) in [
            ("/st;csv", "text/plain", "# pxname,svname,"),
            ("/st;typed", "text/plain", "F.2.0.0.pxname.1:KNS:str:l\n"),
            (
                "/st;json;norefresh",
                "application/json",
                r#"[[{"objType":"Frontend","proxyId":2,"#,
            ),
            ("/st;json-schema", "application/json", r#"{"$schema":"#),
        ] {
            let answer = get(path);
            assert_eq!(
                answer.header("content-type").as_deref(),
                Some(kind),
                "{} {path}",
                program.name
            );
            assert!(
                answer.body.contains(begins),
                "{} {path}: {}",
                program.name,
                answer.body
            );
        }
        assert_eq!(get("/st/no").status, 403, "{}", program.name);
        assert_eq!(
            ask(port, "PUT /st", "x").status,
            503,
            "{}: only GET, HEAD and POST are the page's",
            program.name
        );
        let denied = ask(port, "POST /st", "s=a&action=maint&b=l");
        assert_eq!(denied.status, 303, "{}", program.name);
        assert_eq!(
            denied.header("location").as_deref(),
            Some("/st;st=DENY"),
            "{}",
            program.name
        );
    });
}

#[test]
fn who_may_changes_servers_by_the_pages_form() {
    each(|program| {
        let port = port();
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    server a 127.0.0.1:21001\n    server b 127.0.0.1:21002\n    stats uri /st\n    stats admin if {{ src 127.0.0.1 }}\n"
            ),
        );
        assert!(
            ask(port, "GET /st", "").body.contains("type=\"checkbox\""),
            "{}",
            program.name
        );
        for (path, form, location) in [
            ("/st", "s=a&s=b&action=drain&b=l", "/st;st=DONE"),
            ("/st;up", "s=a&action=maint&b=%232", "/st;st=DONE;up"),
            ("/st", "s=zz&action=drain&b=l", "/st;st=ERRP"),
            ("/st", "s=a&action=zz&b=l", "/st;st=ERRP"),
            ("/st", "s=a&action=maint&b=zz", "/st;st=ERRP"),
            ("/st", "action=maint&b=l", "/st;st=NONE"),
            ("/st", "garbage", "/st;st=NONE"),
        ] {
            let answer = ask(port, &format!("POST {path}"), form);
            assert_eq!(answer.status, 303, "{}: {form}", program.name);
            assert_eq!(
                answer.header("location").as_deref(),
                Some(location),
                "{}: {form}",
                program.name
            );
        }
        assert_eq!(proxy.stat("l", "a", "status"), "MAINT", "{}", program.name);
        assert_eq!(proxy.stat("l", "b", "status"), "DRAIN", "{}", program.name);
        ask(port, "POST /st", "s=a&s=b&action=ready&b=l");
        assert_eq!(
            proxy.stat("l", "a", "status"),
            "no check",
            "{}",
            program.name
        );
    });
}

#[test]
fn the_health_of_a_server_that_tracks_is_not_set_by_the_form() {
    each(|program| {
        let (port, back) = (port(), lab::listener());
        let at = back.local_addr().expect("an address");
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen l\n    bind 127.0.0.1:{port}\n    stats uri /st\n    stats admin if TRUE\n    server a {at} check inter 1h\n    server t {at} track l/a\n"
            ),
        );
        for (form, location) in [
            ("s=t&action=hdown&b=l", "/st;st=NONE"),
            ("s=t&action=hnolb&b=l", "/st;st=NONE"),
            ("s=t&action=hrunn&b=l", "/st;st=NONE"),
            ("s=a&action=hdown&b=l", "/st;st=DONE"),
        ] {
            let answer = ask(port, "POST /st", form);
            let shown = answer.header("location");
            assert_eq!(shown.as_deref(), Some(location), "{}: {form}", program.name);
        }
        ask(port, "POST /st", "s=a&action=hrunn&b=l");
        assert_eq!(proxy.stat("l", "t", "status"), "UP", "{}", program.name);
    });
}

#[test]
fn explain_says_which_rules_a_request_would_meet_and_why() {
    let folder = Folder::new();
    let file = folder.file(
        "e.cfg",
        format!(
            "{TIMES}frontend fe\n    bind 127.0.0.1:{}\n    acl local src 127.0.0.0/8\n    http-request deny status 429 if {{ hdr(x-bad) 1 }} !local\n    http-request set-header X-Seen yes if local\n    use_backend api if {{ path_beg /api }}\n    default_backend web\nbackend api\n    http-request set-path /v2%[path]\n    server one 127.0.0.1:1\nbackend web\n    server w 127.0.0.1:1\n",
            port()
        )
        .as_bytes(),
    );
    let mulgil = Program::mulgil();
    let (status, text) = mulgil.run(&["explain", "-f", &file, "http://h.example/api/x"]);
    assert_eq!(status, 0, "{text}");
    for part in [
        "- ",
        "e.cfg:10: http-request set-header X-Seen yes if local\n          local: yes\n",
        "backend 'api'",
        "    GET /v2/api/x HTTP/1.1\n    Host: h.example\n    X-Seen: yes\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let asked = [
        "explain", "-f", &file, "--from", "10.0.0.1", "-H", "X-Bad: 1", "/",
    ];
    let (_, text) = mulgil.run(&asked);
    assert!(
        text.ends_with("the request is refused with 429\n"),
        "{text}"
    );
    assert_eq!(
        mulgil
            .run(&["explain", "-f", &file, "--frontend", "zz", "/"])
            .0,
        1
    );
    assert_eq!(mulgil.run(&["explain", "/"]).0, 1);
}

#[test]
fn ctl_talks_to_the_process_of_a_file_or_a_socket() {
    let mulgil = Program::mulgil();
    let config = format!(
        "{TIMES}listen l\n    bind 127.0.0.1:{}\n    server a 127.0.0.1:1\n",
        port()
    );
    let proxy = Proxy::start(&mulgil, &config);
    let socket = proxy.folder().path("control");
    let (status, text) = mulgil.run(&["ctl", "-s", &socket, "get", "weight", "l/a"]);
    assert_eq!((status, text.as_str()), (0, "1 (initial 1)\n\n"));
    let (status, text) = mulgil.run(&["ctl", "-f", &proxy.file, "reload"]);
    assert!(status == 0 && text.starts_with("Success=1\n"), "{text}");
    std::fs::write(&proxy.file, "nonsense").expect("written");
    let (status, text) = mulgil.run(&["ctl", "-s", &socket, "reload"]);
    assert!(status == 1 && text.starts_with("Success=0\n"), "{text}");
    assert!(text.contains("stays as it was"), "{text}");
    assert_eq!(mulgil.run(&["ctl", "-s", "/nowhere/at/all", "help"]).0, 1);
}
