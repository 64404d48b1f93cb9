//! The language of rules, the same through mulgil and through the oracle: expressions, ACLs,
//! actions, formats.

use lab::{Client, Folder, LogSink, Program, Proxy, Server, each, port};
use std::fmt::Write as _;

/// What is asked, and what both programs answer: `is` and a body, `if` and a condition, `do` and
/// an action with the body behind it; below each, the answer.
const CASES: &str = include_str!("rules.txt");

const FILES: &[(&str, &str)] = &[
    (
        "map.txt",
        "# comment\n  alpha   the first value  \nbeta\tsecond\ngamma\n  Alpha upper\n/img   images\nexample.org   dom\n",
    ),
    (
        "ip.map",
        "10.0.0.0/8 ten\n10.1.0.0/16 tenone\n2001:db8::/32 doc\n1.2.3.4 exact\n",
    ),
    ("int.map", "5 five\n10:20 range\n:3 low\n100: high\n"),
    ("re.map", "^a(.)c a-\\1-\\0\n^(x)(y)? <\\2>\n"),
    ("vi.map", "a 5\nb -7\nhello 12\n"),
    ("vip.map", "a 1.2.3.4\nb 2001:db8::5\n"),
    ("list.txt", "one\n# c\n  two \nThree\n\n #sharp\n"),
    ("ips.txt", "10.0.0.0/8\n2001:db8::/32\n"),
    ("empty.txt", ""),
];

const HEADERS: &str = "Host: WWW.Example.org:8080\r\nX-List: one, two\r\nX-List: three\r\n\
    X-Num: 42\r\nX-Neg: -7\r\nX-Ip: 10.1.2.3\r\nX-Ip6: 2001:db8::1\r\nX-Empty: \r\n\
    Cookie: sid=abc; t=7; sid=def\r\nCookie: u=9\r\nAccept-Language: fr;q=0.5, en-US, de;q=0.8\r\n\
    X-Fwd: for=192.0.2.60;proto=http;by=203.0.113.43, for=\"[2001:db8::1]:4711\"\r\n\
    Authorization: Bearer eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJqb2UiLCJleHAiOjEzMDA4MTkzODAsImIiOnRydWUsIngiOnsieSI6WzEsMiwiMyJdfX0.abc\r\n\
    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 14\r\n\r\nk=v&k2=v2&k3=%";

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n";

fn cases() -> Vec<(&'static str, &'static str)> {
    let lines: Vec<&str> = CASES.lines().collect();
    let pairs = lines.chunks_exact(2);
    pairs.map(|p| (p[0], p[1].trim_start())).collect()
}

fn config(port: u16, folder: &str) -> String {
    let mut out = format!(
        "{TIMES}    option http-buffer-request\nbackend bk\n    server s1 127.0.0.1:1\n    server s2 127.0.0.1:2 weight 7 maxconn 10\nlisten f\n    bind 127.0.0.1:{port} name lname\n"
    );
    for (name, value) in [
        ("s", "str(hello)"),
        ("i", "int(5)"),
        ("ip", "ipv4(1.2.3.4)"),
        ("b", "bin(00ff)"),
        ("t", "bool(true)"),
        ("e", "str()"),
        ("neg", "int(-3)"),
        ("k", "str(a2V5)"),
        ("ip6", "ipv6(2001:db8::1)"),
        ("m", "method"),
    ] {
        let _ = writeln!(out, "    http-request set-var(txn.{name}) {value}");
    }
    for (i, (case, _)) in cases().iter().enumerate() {
        let (kind, text) = case.split_once(' ').expect("a kind and a text");
        let answer = "http-request return status 200 content-type text/plain";
        let here = format!("{{ path_beg /{i}/ }}");
        let _ = match kind {
            "is" => writeln!(out, "    {answer} lf-string {text} if {here}"),
            "if" => writeln!(
                out,
                "    http-request set-var(txn.ok) bool(false)\n    http-request set-var(txn.ok) bool(true) if {text}\n    {answer} string MATCH if {here} {{ var(txn.ok) -m bool }}\n    {answer} string NO if {here}"
            ),
            _ => {
                let (action, format) = text.split_once(" => ").expect("an action and a body");
                writeln!(
                    out,
                    "    http-request {action} if {here}\n    http-request set-header x-idx {i} if {here}\n    {answer} lf-string '{format}' if {{ req.hdr(x-idx) {i} }}"
                )
            }
        };
    }
    out.replace("@/", &format!("{folder}/"))
}

#[test]
fn expressions_conditions_and_actions_come_to_the_same_byte_for_byte() {
    each(|program| {
        let folder = Folder::new();
        for (name, text) in FILES {
            folder.file(name, text.as_bytes());
        }
        let here = folder.path("");
        let port = port();
        let _proxy = Proxy::start(program, &config(port, here.trim_end_matches('/')));
        let mut wrong = Vec::new();
        let mut client = Client::connect(port);
        for (i, (case, expected)) in cases().iter().enumerate() {
            let request =
                format!("POST /{i}/Some/Path.html?a=1&b=%20x&c=&a=2&D=up HTTP/1.1\r\n{HEADERS}");
            let answer = client.ask(&request);
            if answer.body != *expected {
                wrong.push(format!("{case}\n  '{}', not '{expected}'", answer.body));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", program.name, wrong.join("\n"));
    });
}

/// What a path of a listener answers: the rules that are there run before.
fn answers(program: &Program, global: &str, rules: &str, format: &str, requests: &[(&str, &str)]) {
    let port = port();
    let _proxy = Proxy::start(
        program,
        &format!(
            "{global}{TIMES}listen f\n    bind 127.0.0.1:{port}\n{rules}    http-request return status 200 content-type text/plain lf-string {format}\n"
        ),
    );
    for (target, expected) in requests {
        let mut client = Client::connect(port);
        let answer = client.ask(&format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n\r\n"));
        let found = match answer.status {
            200 => answer.body,
            status => status.to_string(),
        };
        assert_eq!(found, *expected, "{}: {target}\n{rules}", program.name);
    }
}

#[test]
fn targets_are_normalised() {
    let experimental = "    expose-experimental-directives\n";
    each(|program| {
        for (normalizer, target, expected) in [
            ("path-merge-slashes", "//a//b?c=//", "/a/b?c=//"),
            ("path-strip-dot", "/./a/./b/.", "/a/b/"),
            ("path-strip-dot", "/.well-known/", "/.well-known/"),
            ("path-strip-dotdot", "/a/b/../c/..", "/a/"),
            ("path-strip-dotdot", "/../a/../../b", "/../../b"),
            ("path-strip-dotdot full", "/../a/../../b", "/b"),
            ("path-strip-dotdot", "/a/..", "/"),
            ("path-strip-dotdot", "/a/../", "/"),
            ("path-strip-dotdot", "/a//../b", "/a/b"),
            ("percent-decode-unreserved", "/%61%3F%7e?%62", "/a%3F~?b"),
            ("percent-decode-unreserved", "/%%36%36", "/%66"),
            ("percent-decode-unreserved strict", "/%%36%36", "400"),
            ("percent-to-uppercase", "/%6f%zz", "/%6F%zz"),
            ("percent-to-uppercase strict", "/%zz", "400"),
            ("query-sort-by-name", "/?c=3&a=1&b=2", "/?a=1&b=2&c=3"),
            ("query-sort-by-name", "/?aaa=3&a=1&aa=2", "/?a=1&aa=2&aaa=3"),
            (
                "query-sort-by-name",
                "/?a=3&b=4&a=1&b=5&a=2",
                "/?a=3&a=1&a=2&b=4&b=5",
            ),
            ("query-sort-by-name", "/?b&a=&=1", "/?=1&a=&b"),
        ] {
            let rules = format!("    http-request normalize-uri {normalizer}\n");
            answers(
                program,
                experimental,
                &rules,
                "%[url]",
                &[(target, expected)],
            );
        }
    });
}

#[test]
fn targets_are_rewritten() {
    each(|program| {
        for (rule, target, expected) in [
            ("set-path /n", "/p?q=1", "/n?q=1"),
            ("set-path n", "/p?q=1", "n?q=1"),
            ("set-path /%[bin(0a)]", "/p", "/%0A"),
            ("set-pathq /n", "/p?q=1", "/n"),
            ("set-pathq /n?x", "/p?q=1", "/n?x"),
            ("set-query x=1", "/p?q=1", "/p?x=1"),
            ("set-uri http://h/n?x", "/p?q=1", "http://h/n?x"),
            ("replace-path (.)$ \\1x", "/ab?q=1", "bx?q=1"),
            ("replace-path (.*) /x\\1", "/ab?q=1", "/x/ab?q=1"),
            ("replace-pathq (.*)\\?(.*) \\1/\\2", "/ab?q=1", "/ab/q=1"),
            ("replace-uri ^/(..) /<\\1>", "/ab?q=1", "/<ab>"),
            ("replace-uri ^x y", "/ab?q=1", "/ab?q=1"),
        ] {
            let rules = format!("    http-request {rule}\n");
            answers(program, "", &rules, "%[url]", &[(target, expected)]);
        }
    });
}

#[test]
fn variables_take_no_more_than_they_may() {
    each(|program| {
        let big = "a".repeat(400);
        let rules = format!(
            "    http-request set-var(txn.a) str({big})\n    http-request set-var(txn.b) str({big})\n"
        );
        let format = "%[var(txn.a),length],%[var(txn.b),length]";
        answers(program, "", &rules, format, &[("/", "400,400")]);
        // The oracle keeps as much of the second as there is room for; here it is not set.
        for limit in ["txn", "sess", "global"] {
            let limit = format!("    tune.vars.{limit}-max-size 800\n");
            let format = "%[var(txn.a),length],%[var(txn.b),length,div(400)]";
            let expected = if program.name == "mulgil" {
                "400,"
            } else {
                "400,0"
            };
            answers(program, &limit, &rules, format, &[("/", expected)]);
        }
    });
}

#[test]
fn early_hints_go_ahead_of_the_response() {
    each(|program| {
        let port = port();
        let server = Server::named("a");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}listen f\n    bind 127.0.0.1:{port}\n    http-request early-hint Link \"<%[path]>; rel=preload\"\n    http-request early-hint X-Other 2\n    server s {}\n",
                server.addr
            ),
        );
        let mut client = Client::connect(port);
        let hints = client.ask("GET /s.css HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(hints.status, 103, "{}", program.name);
        let link = hints.header("link");
        assert_eq!(
            link.as_deref(),
            Some("</s.css>; rel=preload"),
            "{}",
            program.name
        );
        assert_eq!(
            hints.header("x-other").as_deref(),
            Some("2"),
            "{}",
            program.name
        );
        assert_eq!(client.response().status, 200, "{}", program.name);
    });
}

#[test]
fn responses_and_log_lines_show_what_they_should() {
    each(|program| {
        let port = port();
        let sink = LogSink::new();
        let server = Server::fixed(
            b"HTTP/1.1 201 Made\r\nSet-Cookie: a=1\r\nSet-Cookie: b=22\r\nSet-Cookie: a=3\r\nX-L: one, two\r\nX-N: 17\r\nX-I: 10.0.0.1\r\nContent-Length: 2\r\n\r\nok",
            true,
        );
        let response = [
            ("status", "201"),
            ("res.ver", "1.1"),
            ("res.hdr(x-l)", "two"),
            ("hdr(x-l,1)", "one"),
            ("res.hdr(x-l,1)", "one"),
            ("res.fhdr(x-l)", "one, two"),
            ("shdr_cnt(set-cookie)", "3"),
            ("res.hdr_val(x-n),add(1)", "18"),
            ("res.hdr_ip(x-i),ipmask(8)", "10.0.0.0"),
            ("res.cook(a)", "3"),
            ("scook_val(b)", "22"),
            ("scook_cnt(a)", "2"),
            ("srv_name", "s1"),
            ("be_name", "b"),
            ("fe_name", "f"),
            ("be_server_timeout", "2000"),
            ("capture.req.hdr(0)", "h.example"),
            ("capture.req.method", "GET"),
            ("var(txn.v)", "v"),
            ("var(req.v)", ""),
        ];
        let log = [
            ("a  b", "a b"),
            (
                "%[capture.req.hdr(0)]|%[capture.res.hdr(0)]",
                "h.example|one, ",
            ),
            ("%hr %hs", "{h.example} {one, }"),
            ("%[var(txn.v)]", "v"),
            ("%[str(a#b\\ é)]", "a#b é"),
            ("%{+Q}[str(a)] %{+Q}[str()]", "\"a\" \"\""),
            ("%{+E}[str(a\\\"b)]", "a\\\"b"),
            ("%{+Q}HM %HU %HP %HQ %HV", "\"GET\" /p?q=1 /p ?q=1 HTTP/1.1"),
            ("%[srv_name] %[be_name]", "s1 b"),
            ("%[int(255),hex]", "00000000000000FF"),
        ];
        let mut rules = String::new();
        for (i, (expr, _)) in response.iter().enumerate() {
            let _ = writeln!(rules, "    http-response set-header X-T{i} '[%[{expr}]]'");
        }
        let format: Vec<_> = log.iter().map(|(f, _)| *f).collect();
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{} local0\nfrontend f\n    bind 127.0.0.1:{port}\n    capture request header host len 20\n    capture response header x-l len 5\n    log-format '<<{}>>'\n    http-request set-var(txn.v) str(v)\n    http-request set-var(req.v) str(v)\n    default_backend b\nbackend b\n    server s1 {}\n{rules}",
                sink.port,
                format.join("@|@"),
                server.addr
            ),
        );
        let mut client = Client::connect(port);
        let answer = client.ask("GET /p?q=1 HTTP/1.1\r\nHost: h.example\r\n\r\n");
        for (i, (expr, expected)) in response.iter().enumerate() {
            let found = answer.header(&format!("x-t{i}"));
            assert_eq!(
                found,
                Some(format!("[{expected}]")),
                "{}: {expr}",
                program.name
            );
        }
        let line = sink.line("<<");
        let shown = line.split_once("<<").map_or("", |p| p.1);
        let shown = shown.trim_end_matches(">>").split("@|@");
        for ((format, expected), found) in log.iter().zip(shown) {
            assert_eq!(found, *expected, "{}: {format}", program.name);
        }
    });
}

#[test]
fn variables_of_the_process_are_shared_by_all_sessions() {
    each(|program| {
        let rules = "    http-request set-var(proc.seen) path if { path_beg /set }\n    http-request set-var(sess.own) path if { path_beg /set }\n";
        let format = "%[var(proc.seen)]|%[var(sess.own)]";
        let requests = [("/get", "|"), ("/set1", "/set1|/set1"), ("/get", "/set1|")];
        answers(program, "", rules, format, &requests);
    });
}

#[test]
fn headers_and_cookies_are_taken_apart() {
    let cases = [
        ("req.hdr_cnt(x-a)", "5"),
        ("req.hdr(x-a,3)", "b"),
        ("req.hdr(x-a,4),length", "0"),
        ("req.hdr(x-a,-1)", "c"),
        ("req.hdr_cnt(x-q)", "2"),
        ("req.hdr(x-q,1)", "\"a,b\""),
        ("req.hdr(x-q,2)", "c;d=\"x,y\""),
        ("req.hdr_val(x-v,1)", "12"),
        ("req.hdr_val(x-v,2)", "-5"),
        ("req.hdr_ip(x-p)", "1.2.3.4"),
        ("req.fhdr(x-s)", "sp  aced"),
        ("req.cook(q)", "\"x y\""),
        ("req.cook(w)", "z"),
        ("req.cook(e),length", "0"),
        ("req.cook(n),length", ""),
        ("req.cook(s)", "abc=="),
        ("req.cook_cnt(s)", "1"),
        ("req.cook_val(u)", "9"),
    ];
    let mut rules = String::new();
    for (i, (expr, _)) in cases.iter().enumerate() {
        let _ = writeln!(
            rules,
            "    http-request return status 200 content-type text/plain lf-string %[{expr}] if {{ path /{i} }}"
        );
    }
    each(|program| {
        let port = port();
        let _proxy = Proxy::start(
            program,
            &format!("{TIMES}listen f\n    bind 127.0.0.1:{port}\n{rules}"),
        );
        let mut client = Client::connect(port);
        for (i, (expr, expected)) in cases.iter().enumerate() {
            let answer = client.ask(&format!(
                "GET /{i} HTTP/1.1\r\nHost: h\r\nX-A: a,,b, ,c\r\nX-Q: \"a,b\",c;d=\"x,y\"\r\nX-V: 12abc\r\nX-V: -5\r\nX-P: 1.2.3.4:80\r\nX-S:   sp  aced  \r\nCookie: u=9; q=\"x y\";n; =v; w = z ;e=;s=abc==\r\n\r\n"
            ));
            assert_eq!(answer.body, *expected, "{}: {expr}", program.name);
        }
    });
}
