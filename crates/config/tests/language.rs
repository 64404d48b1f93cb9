//! The language as HAProxy 2.6 reads it: each case was first tried with `haproxy -c`.

mod common;

use common::{Files, load_text, said};
use config::Loaded;

const TIMES: &str = "timeout client 1s\n timeout server 1s\n timeout connect 1s\n";

/// A `listen` in HTTP mode with these lines; its first line is line 7.
fn listen(lines: &str) -> Loaded {
    load_text(&format!(
        "defaults\n {TIMES} mode http\nlisten l\n bind :80\n{lines}\n"
    ))
}

/// Whole sections after anonymous defaults, which end at line 5.
fn sections(text: &str) -> Vec<String> {
    said(&load_text(&format!(
        "defaults\n {TIMES} mode http\n{text}\n"
    )))
}

#[track_caller]
fn says(said: &[String], wanted: &[&str]) {
    let matches = said.len() == wanted.len() && said.iter().zip(wanted).all(|(s, w)| s.contains(w));
    assert!(matches, "said {said:#?}\nwanted {wanted:#?}");
}

#[test]
fn an_empty_word_or_a_carriage_return_ends_a_line() {
    says(&said(&listen(" http-request deny \"\"")), &[]);
    says(
        &said(&listen(" http-request deny \"\" if nosuch")),
        &["8: warning: an empty word ends the line"],
    );
    says(
        &said(&listen(" server a \"\" 127.0.0.1:80")),
        &["8: warning", "8: error: 'server' wants"],
    );
    says(&said(&listen(" \"\"")), &[]);
    says(
        &said(&listen(" maxconn 5\r maxconn x")),
        &["8: warning: a carriage return ends the line"],
    );
    says(&said(&listen(" maxconn 5\r")), &[]);
    says(
        &said(&listen(" maxconn\r5")),
        &["8: warning", "8: error: 'maxconn' wants"],
    );
}

#[test]
fn a_frontend_and_a_backend_may_share_a_name_and_nothing_else_may() {
    says(&sections("frontend x\n bind :80\nbackend x"), &[]);
    for text in [
        "frontend x\n bind :80\nlisten x\n bind :81",
        "listen x\n bind :81\nbackend x",
        "backend x\nlisten x\n bind :81",
        "backend x\nbackend x",
        "frontend x\n bind :80\nfrontend x\n bind :81",
    ] {
        let said = sections(text);
        assert!(
            said.iter()
                .any(|s| s.contains("there is a proxy 'x' already")),
            "{text}: {said:?}"
        );
    }
}

#[test]
fn a_header_with_a_mistake_does_not_hide_those_in_its_lines() {
    says(
        &sections("backend x\nbackend x\n balence first\nbackend y :80\n balence first"),
        &[
            "there is a proxy 'x'",
            "8: error: unknown keyword",
            "9: error: ':80' is one word too many",
            "10: error: unknown",
        ],
    );
}

#[test]
fn http_does_not_lead_to_a_backend_in_tcp_mode() {
    for line in ["default_backend b", "use_backend b if TRUE"] {
        let back = format!("frontend f\n bind :80\n {line}\nbackend b\n mode tcp");
        says(
            &sections(&back),
            &["'f' is in 'mode http', but backend 'b'"],
        );
        let front = format!("frontend f\n mode tcp\n bind :80\n {line}\nbackend b");
        says(&sections(&front), &[]);
    }
    says(
        &said(&listen(" use_backend l if TRUE")),
        &["8: error: 'use_backend' leads 'l' to itself"],
    );
}

#[test]
fn what_only_http_can_do_has_no_effect_in_tcp_mode_and_is_said() {
    let loaded = load_text(&format!(
        "defaults\n {TIMES} mode http\n option forwardfor\nlisten l\n mode tcp\n bind :80\n log 127.0.0.1 local0\n \
         option httplog\n http-request deny\n monitor-uri /x\n stats enable\n balance uri\n server a 127.0.0.1:80\n"
    ));
    says(
        &said(&loaded),
        &[
            "6: warning: 'option forwardfor' has no effect in 'l'",
            "11: warning: 'l' is in 'mode tcp', so its log lines",
            "12: warning: 'http-request' has no effect",
            "13: warning: 'monitor-uri' has no effect",
            "14: warning: 'stats' has no effect",
            "15: warning: 'l' is in 'mode tcp', where nothing of HTTP can be hashed",
        ],
    );
    let captures = |mode: &str, more: &str| -> Vec<String> {
        let rule = "tcp-request content capture req.payload(0,3) len 4";
        sections(&format!(
            "frontend f\n mode {mode}\n bind :80\n {more}\n {rule}\n default_backend b\nbackend b\n mode {mode}"
        ))
    };
    says(
        &captures("tcp", ""),
        &["what is captured has no effect in 'f', which is in 'mode tcp'"],
    );
    says(&captures("http", ""), &[]);
    says(
        &captures("tcp", "tcp-request content switch-mode http"),
        &[],
    );
    let config = loaded.config.expect("warnings only");
    let proxy = config.frontend("l").expect("it is there");
    assert!(proxy.http_request.is_empty() && proxy.stats.is_none());
    assert!(proxy.http.forwardfor.is_none());
}

#[test]
fn words_on_the_wrong_side_are_passed_over_or_refused_as_haproxy_does() {
    for line in [
        "balance roundrobin",
        "fullconn 10",
        "hash-type map-based",
        "http-check send meth GET",
        "http-reuse safe",
        "http-send-name-header x",
        "option abortonclose",
        "option httpchk",
        "option redispatch",
        "retries 3",
        "source 127.0.0.1",
        "srvtcpka-cnt 3",
        "tcp-check connect",
        "timeout connect 1s",
        "timeout queue 1s",
        "use-server a if TRUE",
    ] {
        says(
            &sections(&format!("frontend f\n bind :80\n {line}")),
            &["8: warning"],
        );
    }
    for line in [
        "backlog 10",
        "bind :80",
        "capture request header x len 3",
        "clitcpka-cnt 3",
        "default_backend nosuch",
        "log-format x",
        "maxconn 3",
        "monitor fail if TRUE",
        "monitor-uri /x",
        "option dontlognull",
        "option httplog",
        "option tcplog",
        "timeout client 1s",
        "use_backend nosuch if TRUE",
    ] {
        says(&sections(&format!("backend b\n {line}")), &["7: warning"]);
    }
    for line in [
        "server a 127.0.0.1:80",
        "server-template a 1-3 127.0.0.1:80",
        "default-server check",
        "retry-on none",
    ] {
        says(
            &sections(&format!("frontend f\n bind :80\n {line}")),
            &["8: error"],
        );
    }
    for line in [
        "declare capture request len 3",
        "tcp-request connection accept",
        "tcp-request session accept",
    ] {
        says(&sections(&format!("backend b\n {line}")), &["7: error"]);
    }
    for line in [
        "bind :80",
        "capture request header x len 3",
        "description x",
        "id 77",
        "monitor fail if TRUE",
        "redirect location /",
        "server a 127.0.0.1:80",
        "server-template a 1-3 127.0.0.1:80",
        "declare capture request len 3",
        "use_backend b if TRUE",
        "use-server a if TRUE",
    ] {
        says(
            &sections(&format!("backend b\ndefaults d\n {line}")),
            &["8: error"],
        );
    }
}

#[test]
fn defaults_give_rules_only_under_a_name_and_only_to_whom_they_fit() {
    for line in [
        "acl a path /",
        "http-request deny",
        "http-after-response set-header a b",
        "tcp-request content accept",
    ] {
        says(
            &sections(&format!("defaults\n {line}\nbackend b")),
            &["7: error"],
        );
    }
    let with = |rule: &str, user: &str| {
        sections(&format!(
            "defaults d\n {TIMES} mode http\n {rule}\n{user} from d\n bind :80"
        ))
    };
    says(&with("http-request deny", "frontend f"), &[]);
    says(
        &with("http-request deny", "listen f"),
        &["12: error: 'listen' cannot start"],
    );
    says(
        &with("tcp-request connection accept", "backend f"),
        &["12: error: 'backend' cannot start", "13: warning"],
    );
    says(
        &sections("defaults d\n mode http\n http-request deny\ndefaults e from d\nbackend b"),
        &["9: error: 'defaults' cannot start"],
    );
    says(
        &sections(&format!(
            "defaults d\n {TIMES} acl a path /\nlisten f from d\n bind :80\n http-request deny if a"
        )),
        ["no ACL 'a' stands above", "has no effect"]
            .get(..1)
            .unwrap_or_default(),
    );
    says(&sections("defaults d\ndefaults d\nbackend b"), &[]);
    says(
        &sections("defaults d\ndefaults d\nbackend b from d"),
        &["there are several 'defaults d'"],
    );
    says(
        &sections("defaults web\nbackend b from wev"),
        &["no 'defaults wev' stands above: did you mean 'web'?"],
    );
}

#[test]
fn only_what_can_be_taken_back_is() {
    for line in [
        "no option dontlognull",
        "no log",
        "default option redispatch",
        "no option http-keep-alive",
    ] {
        says(&said(&listen(&format!(" {line}"))), &[]);
    }
    for line in [
        "no balance roundrobin",
        "default maxconn 5",
        "no server a 127.0.0.1:80",
        "no option httplog",
        "no option forwardfor",
        "no option tcpka",
        "default option httpchk",
        "no log global",
    ] {
        says(&said(&listen(&format!(" {line}"))), &["8: error"]);
    }
    let global = |line: &str| {
        said(&load_text(&format!(
            "global\n {line}\nlisten l\n bind :80\n {TIMES}"
        )))
    };
    says(&global("no insecure-fork-wanted"), &[]);
    says(&global("no strict-limits"), &[]);
    says(&global("no daemon"), &["2: error"]);
    says(&global("default maxconn 4"), &["2: error"]);
}

#[test]
fn proxies_listeners_and_servers_are_numbered_as_haproxy_numbers_them() {
    let loaded = load_text(&format!(
        "defaults\n {TIMES}frontend a\n bind :80\nbackend b\n id 10\n server s1 127.0.0.1:1\n server s2 127.0.0.1:1 id 5\n \
         server s3 127.0.0.1:1\n server-template t 2 127.0.0.1:1\n server s6 127.0.0.1:1\nbackend c\nlisten h\n bind :81\n \
         bind :82 id 7\n bind :83-84\n"
    ));
    says(&said(&loaded), &[]);
    let config = loaded.config.expect("valid");
    let ids: Vec<u32> = config.proxies.iter().map(|p| p.id).collect();
    assert_eq!(ids, [2, 10, 4, 5]);
    let servers = &config
        .backend("b")
        .and_then(|p| p.backend.as_ref())
        .expect("servers")
        .servers;
    let servers: Vec<(&str, u32)> = servers.iter().map(|s| (&*s.name, s.id)).collect();
    assert_eq!(
        servers,
        [
            ("s1", 1),
            ("s2", 5),
            ("s3", 3),
            ("t1", 4),
            ("t2", 6),
            ("s6", 7)
        ]
    );
    let binds = &config
        .frontend("h")
        .and_then(|p| p.frontend.as_ref())
        .expect("binds")
        .binds;
    let binds: Vec<u32> = binds.iter().map(|b| b.id).collect();
    assert_eq!(binds, [1, 7, 3, 4]);
    says(
        &sections("backend a\n id 5\nbackend b\n id 5"),
        &["9: error: 'a' at a.cfg:6 has id 5 already"],
    );
}

#[test]
fn mistakes_of_servers_are_found_again_in_their_lines() {
    let lines = " server a 127.0.0.1:1\n server b 127.0.0.1:1 id 3\n server a 127.0.0.1:2\n server c 127.0.0.1:1 id 3\n \
                 server a 127.0.0.1:3\n server d 127.0.0.1 check\n server e 127.0.0.1:+1 check\n server f 127.0.0.1 check port 5";
    says(
        &said(&listen(lines)),
        &[
            "10: error: 'l' has a server 'a' already, at line 8",
            "11: error: server 'b' of 'l' has id 3 already",
            "12: error: 'l' has a server 'a' already, at line 8",
            "13: error: server 'd' has no port that checks could go to",
            "14: error: server 'e' has no port that checks could go to",
        ],
    );
    let rules = |rules: &str| {
        said(&listen(&format!(
            " option tcp-check\n{rules} server a 127.0.0.1 check"
        )))
    };
    let named = " tcp-check connect port 5\n";
    let unnamed = " tcp-check connect\n";
    assert!(rules(&[named, named].concat()).is_empty());
    for (first, second) in [(named, unnamed), (unnamed, named), (unnamed, "")] {
        let said = rules(&[first, second].concat());
        let wrong = "error: server 'a' has no port that checks could go to";
        assert!(said.len() == 1 && said[0].contains(wrong), "{said:?}");
    }
    says(
        &said(&listen(
            " server-template s 1-3 127.0.0.1:1\n server s2 127.0.0.1:1",
        )),
        &["9: error: 'l' has a server 's2' already, at line 8"],
    );
    says(
        &said(&listen(" server web 127.0.0.1:1\n use-server wev if TRUE")),
        &["9: error: no server here is called 'wev': did you mean 'web'?"],
    );
}

#[test]
fn addresses_are_those_that_each_place_takes() {
    for line in [
        "bind uxst@/tmp/x.sock",
        "bind abns@",
        "bind unix@/tmp/y.sock",
        "bind 127.0.0.1:18000-18003",
        "bind :::80,[::1]:81,*:82",
        "server a 127.0.0.1:+10",
        "server a 127.0.0.1:-10",
        "server a 127.0.0.1",
        "server a *:0",
        "server a 0.0.0.0:80",
        "server a 127.0.0.1:80 source 127.0.0.1:10000-10100 interface lo",
        "source 127.0.0.1 interface lo",
        "source 0.0.0.0",
    ] {
        says(&said(&listen(&format!(" {line}"))), &[]);
    }
    for line in [
        "bind udp@127.0.0.1:5000",
        "bind 127.0.0.1",
        "bind :0",
        "bind 127.0.0.1:+5",
        "bind 127.0.0.1:-5",
        "bind 127.0.0.1:18005-18004",
        "bind 127.0.0.1:5-",
        "bind ipv4@[::1]:80",
        "server a fd@3",
        "server a udp@127.0.0.1:1",
        "server a 127.0.0.1:80-90",
        "server a nosuch.example:80",
        "server-template s 0 127.0.0.1:80",
        "server-template s 3-1 127.0.0.1:80",
        "server-template s x 127.0.0.1:80",
        "server-template s 3",
        "source",
        "source 127.0.0.1:100-200",
        "source 127.0.0.1 x",
        "source 127.0.0.1 interface",
        "source 127.0.0.1 usesrc",
    ] {
        let said = said(&listen(&format!(" {line}")));
        assert!(
            said.iter().any(|s| {
                // Whether it takes datagrams is a matter of the whole section.
                s.starts_with("8: error") || line.contains("udp@") && s.starts_with("6: error")
            }),
            "{line}: {said:?}"
        );
    }
}

#[test]
fn default_server_lines_add_up_and_each_server_may_say_otherwise() {
    let loaded = listen(
        " default-server weight 5 inter 1s check\n default-server maxconn 9\n server a 127.0.0.1:1\n \
         server b 127.0.0.1:1 weight 7 no-check\n default-server id 4",
    );
    says(&said(&loaded), &["12: error: 'id' is of one server only"]);
    let loaded = listen(
        " default-server weight 5 check\n default-server maxconn 9\n server a 127.0.0.1:1\n server b 127.0.0.1:1 weight 7 no-check",
    );
    let config = loaded.config.expect("valid");
    let servers = &config
        .backend("l")
        .and_then(|p| p.backend.as_ref())
        .expect("servers")
        .servers;
    let read: Vec<(u16, u32, bool)> = servers
        .iter()
        .map(|s| (s.weight, s.maxconn, s.check.is_some()))
        .collect();
    assert_eq!(read, [(5, 9, true), (7, 9, false)]);
}

#[test]
fn lines_without_effect_are_said() {
    says(
        &said(&listen(" log-format x")),
        &["8: warning: 'l' writes no log, so its format has no effect"],
    );
    says(&said(&listen(" log-format x\n log 127.0.0.1 local0")), &[]);
    says(
        &said(&listen(
            " http-check expect status 200\n server a 127.0.0.1:1",
        )),
        &["8: warning: 'http-check' has no effect without 'option httpchk'"],
    );
    says(
        &said(&load_text("listen l\n bind :80\n server a 127.0.0.1:1")),
        &["1: warning: 'l' has no timeout for client, connect, server"],
    );
    says(
        &sections("frontend f"),
        &["6: warning: 'f' has no 'bind' line"],
    );
}

#[test]
fn pseudo_variables_stand_for_file_line_and_section() {
    let text = "global\n.notice \"${.SECTION}\"\ndefaults\n.notice \"$.SECTION ${HAPROXY_CFGFILES}\"\nfrontend web\n.notice \"${.FILE}:${.LINE} ${.SECTION}\"\n bind \"127.0.0.1:8${.LINE}\"\n timeout client 1s\n";
    let loaded = load_text(text);
    says(&said(&loaded), &["global", "defaults a.cfg", "a.cfg:6 web"]);
    let config = loaded.config.expect("valid");
    let bind = &config
        .frontend("web")
        .and_then(|p| p.frontend.as_ref())
        .expect("it")
        .binds[0];
    assert_eq!(bind.address.socket().map(|a| a.port()), Some(87));
    says(
        &said(&listen(" description \"$5\"")),
        &["8: error: no variable name follows"],
    );
}

#[test]
fn sections_that_are_not_there_are_refused_once_by_name() {
    for name in ["cache", "program", "ring", "log-forward", "fcgi-app"] {
        let text = format!("{name} x\n some words\n \"unclosed\n other words\nbackend b");
        says(
            &sections(&text),
            &[&format!(
                "6: error: '{name}' is a section of HAProxy that mulgil does not have yet"
            )],
        );
    }
}

#[test]
fn directories_give_their_cfg_files_in_order() {
    let mut files = Files::default();
    for (name, text) in [
        ("conf/b.cfg", "listen l\n bind :80\n maxconn x\n"),
        ("conf/a.cfg", "defaults\n mode http\n timeout client x\n"),
        ("conf/note.txt", "junk"),
    ] {
        files.0.insert(name.into(), text.into());
    }
    let loaded = files.load(&["conf"]);
    let places: Vec<String> = loaded
        .report
        .diagnostics
        .iter()
        .map(|d| format!("{}:{}", d.file, d.line))
        .collect();
    assert_eq!(places, ["conf/a.cfg:3", "conf/b.cfg:3"]);
}

#[test]
fn error_pages_come_from_files_sections_and_lines() {
    let text = format!(
        "defaults\n {TIMES} mode http\n errorfiles pages\nlisten l\n bind :80\n \
         http-error status 403 content-type text/plain string no hdr X-A b\n http-error status 404\n \
         errorfile 408 empty.http\n errorloc303 500 https://sorry.example/\nhttp-errors pages\n errorfile 503 sorry.http\n"
    );
    let mut files = Files::with(&text);
    files.0.insert("empty.http".into(), String::new());
    let loaded = files.load(&["a.cfg"]);
    says(&said(&loaded), &[]);
    let config = loaded.config.expect("valid");
    let pages = &config.frontend("l").expect("it is there").errors.pages;
    let raw = |status: u16| match pages.get(&status) {
        Some(model::ErrorPage::Raw(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(
        raw(403),
        "HTTP/1.1 403 Forbidden\r\nX-A: b\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno"
    );
    assert_eq!(
        raw(404),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
    );
    assert_eq!(raw(408), "");
    assert_eq!(
        raw(503),
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\r\nsorry\n"
    );
    assert!(matches!(
        pages.get(&500),
        Some(model::ErrorPage::Redirect(..))
    ));
}

#[test]
fn error_pages_that_could_not_be_sent_are_refused() {
    let with = |line: &str, file: &str| {
        let text = format!("defaults\n {TIMES} mode http\nlisten l\n bind :80\n {line}\n");
        let mut files = Files::with(&text);
        files.0.insert("e.http".into(), file.into());
        said(&files.load(&["a.cfg"]))
    };
    says(
        &with("errorfile 400 e.http", "HTTP/1.0 400 Bad\nA: b\n\nx"),
        &[],
    );
    says(
        &with("errorfile 400 e.http", "garbage\n\n"),
        &["8: error: 'e.http' is no HTTP response"],
    );
    says(
        &with("errorfile 400 e.http", "HTTP/1.0 400 Bad\nA: b\n"),
        &["8: error: 'e.http' has no empty line"],
    );
    says(
        &with(
            "errorfile 400 e.http",
            "HTTP/1.0 400 Bad\nContent-Length: 10\n\nabc",
        ),
        &["8: error: 'e.http' says Content-Length: 10, but its body has 3 bytes"],
    );
    says(
        &with("errorfile 499 e.http", ""),
        &["8: error: '499' is no status with a page"],
    );
    says(
        &with("errorfiles nosuch", ""),
        &["8: error: no 'http-errors nosuch'"],
    );
    says(&with("http-error 400", ""), &["8: error"]);
    says(
        &with("http-error status 400 string x", ""),
        &["8: error: a body wants 'content-type'"],
    );
    says(
        &with(
            "http-error status 400 content-type a/b lf-string %[src]",
            "",
        ),
        &["8: error: a page of 'http-error' that differs by request"],
    );
}
