//! TLS to servers: whom is asked for, what is kept, what is judged, and what is said when it fails.

use crate::{TIMES, at, made};
use lab::{Client, LogSink, PATIENCE, Program, Proxy, Server, each, get, port};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// A frontend of TLS that says what it was asked for.
fn tls_door(port: u16, words: &str) -> String {
    let one = at("@one.pem");
    format!(
        "frontend door\n    bind 127.0.0.1:{port} ssl crt {one} {words}\n    http-request return status 200 content-type text/plain lf-string \"<%[ssl_fc_sni]> %[ssl_fc_is_resumed] <%[ssl_fc_alpn]>\"\n"
    )
}

#[test]
fn a_kept_connection_is_never_used_for_another_name() {
    each(|program| {
        let (front, tls) = (port(), port());
        let door = tls_door(tls, "");
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    http-reuse always\nfrontend f\n    bind 127.0.0.1:{front}\n    default_backend b\nbackend b\n    server s 127.0.0.1:{tls} ssl verify none sni req.hdr(host)\n{door}"
            ),
        );
        // One client that goes on, and others that come anew.
        let mut staying = Client::connect(front);
        let mut ask = |name: &str, anew: bool| {
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
            let answer = match anew {
                true => Client::connect(front).ask(&request),
                false => staying.ask(&request),
            };
            assert_eq!(answer.status, 200, "{}: {name}", program.name);
            answer.body
        };
        for n in 0..30 {
            let name = ["a.example", "b.example", "c.example"][n % 3];
            let body = ask(name, n % 2 == 0);
            let wanted = format!("<{name}> ");
            assert!(
                body.starts_with(&wanted),
                "{}: {n} {name}: {body}",
                program.name
            );
        }
        let reused: u32 = proxy.stat("b", "s", "reuse").parse().expect("a number");
        assert!(reused > 0, "{}: nothing was kept", program.name);
    });
}

#[test]
fn sessions_with_servers_are_taken_up_again_unless_told_not_to() {
    each(|program| {
        let (front, tls) = (port(), port());
        let back = |name: &str, words: &str| {
            format!("backend {name}\n    server s 127.0.0.1:{tls} ssl verify none {words}\n")
        };
        let door = tls_door(tls, "");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    http-reuse never\nfrontend f\n    bind 127.0.0.1:{front}\n    use_backend %[path,field(2,/)]\n{}{}{}{door}",
                back("again", ""),
                back("old", "ssl-max-ver TLSv1.2"),
                back("never", "no-ssl-reuse"),
            ),
        );
        for name in ["again", "old"] {
            // Each worker has sessions of its own in HAProxy.
            let end = Instant::now() + PATIENCE;
            while get(front, &format!("/{name}")).body != "<> 1 <>" {
                assert!(Instant::now() < end, "{}: {name}", program.name);
            }
        }
        for _ in 0..10 {
            assert_eq!(get(front, "/never").body, "<> 0 <>", "{}", program.name);
        }
    });
}

#[test]
fn what_ends_a_handshake_with_a_server_is_told_in_openssls_words() {
    let of = |program: &Program| {
        // Each hears the hello out: one answers with HTTP, the other not at all.
        let says = |answer: &'static [u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            std::thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    let mut hello = [0; 4096];
                    let _ = stream.read(&mut hello);
                    let _ = stream.write_all(answer);
                }
            });
            address.to_string()
        };
        let plain = says(b"HTTP/1.1 400 Bad request\r\nContent-Length: 0\r\n\r\n");
        let gone = says(b"");
        let (front, tls) = (port(), port());
        let back = |name: &str, to: &str, words: &str| {
            format!("backend {name}\n    server s {to} ssl {words}\n")
        };
        let tls_addr = format!("127.0.0.1:{tls}");
        let (root, one) = (at("@root.c"), at("@one.c"));
        let text = format!(
            "{TIMES}    retries 0\nfrontend f\n    bind 127.0.0.1:{front}\n    use_backend %[path,field(2,/)]\n    http-after-response set-header x-why \"%[ssl_bc_err] %[ssl_bc_err_str] %[bc_err]\"\n{}{}{}{}{}{}{}",
            back("good", &tls_addr, "verify none"),
            back("untrusted", &tls_addr, &format!("ca-file {root}")),
            back(
                "name",
                &tls_addr,
                &format!("ca-file {one} verifyhost other.example")
            ),
            back("plain", &plain, "verify none"),
            back("version", &tls_addr, "verify none ssl-max-ver TLSv1.2"),
            back("closed", &gone, "verify none"),
            tls_door(tls, "ssl-min-ver TLSv1.3"),
        );
        let _proxy = Proxy::start(program, &text);
        let cases = [
            "good",
            "untrusted",
            "name",
            "plain",
            "version",
            "certificate",
            "closed",
        ];
        let told = cases.map(|case| {
            let answer = get(front, &format!("/{case}"));
            let why = answer.header("x-why").unwrap_or_default();
            format!("{case}: {} {why}", answer.status)
        });
        told.to_vec()
    };
    let ours = of(&Program::mulgil());
    assert!(ours[1].contains("certificate verify failed"), "{ours:?}");
    if let Some(haproxy) = Program::haproxy() {
        assert_eq!(ours, of(&haproxy));
    }
}

#[test]
fn checks_ask_for_their_own_name_and_protocols() {
    each(|program| {
        let (tls, sink) = (port(), LogSink::new());
        let one = at("@one.pem");
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}backend b\n    option httpchk GET /check\n    server s 127.0.0.1:{tls} ssl verify none sni str(traffic.example) alpn http/1.0 check inter 200ms check-sni check.example check-alpn http/1.1\n    server t 127.0.0.1:{tls} ssl verify none alpn http/1.0 check inter 200ms\nfrontend door\n    log 127.0.0.1:{} local0\n    log-format \"check <%[ssl_fc_sni]> <%[ssl_fc_alpn]>\"\n    bind 127.0.0.1:{tls} ssl crt {one} alpn http/1.1,http/1.0\n    http-request return status 200\n",
                sink.port
            ),
        );
        // They go on for ever: one after the other is looked for among those that come.
        for wanted in ["check <check.example> <http/1.1>", "check <-> <http/1.0>"] {
            let mut lines = (0..100).map(|_| sink.line("check"));
            let found = lines.any(|line| line.ends_with(wanted));
            assert!(found, "{}: {wanted}", program.name);
        }
    });
}

/// Words that are younger than the oracle, which has no such names.
#[test]
fn checks_may_ask_for_the_name_in_their_host_field() {
    let (tls, sink) = (port(), LogSink::new());
    let one = at("@one.pem");
    let server = |name: &str, words: &str| {
        format!("    server {name} 127.0.0.1:{tls} ssl verify none check inter 200ms {words}\n")
    };
    let program = Program::mulgil();
    let _proxy = Proxy::start(
        &program,
        &format!(
            "{TIMES}backend a\n    option httpchk\n    http-check send uri /auto ver HTTP/1.1 hdr Host host.example:443\n    default-server check-sni-auto\n{}{}backend b\n    option httpchk\n    http-check connect default\n    http-check send uri /rule ver HTTP/1.1 hdr Host host.example\n{}frontend door\n    log 127.0.0.1:{} local0\n    log-format \"check %HU <%[ssl_fc_sni]>\"\n    bind 127.0.0.1:{tls} ssl crt {one}\n    http-request return status 200\n",
            server("auto", ""),
            server("own", "check-sni own.example"),
            server("rule", "check-sni-auto"),
            sink.port
        ),
    );
    for wanted in [
        "check /auto <host.example>",
        "check /auto <own.example>",
        "check /rule <->",
    ] {
        let mut lines = (0..100).map(|_| sink.line("check"));
        assert!(lines.any(|line| line.ends_with(wanted)), "{wanted}");
    }
}

/// openssl's server, which answers requests; ended with it.
struct Openssl(Child);

impl Openssl {
    fn start(port: u16, words: &str) -> Openssl {
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-www",
                "-quiet",
                "-accept",
                &format!("127.0.0.1:{port}"),
            ])
            .args(at(words).split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "openssl's server does not start");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Openssl(child)
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn openssls_server_is_spoken_to_in_both_versions() {
    each(|program| {
        for (server, words, wanted) in [
            (
                "-tls1_2 -cert @one.c -key @one.k",
                "ca-file @one.c verifyhost one.example",
                "TLSv1.2",
            ),
            (
                "-tls1_3 -cert @one.c -key @one.k",
                "ca-file @one.c sni str(one.example)",
                "TLSv1.3",
            ),
            ("-tls1_3 -cert @rsa.c -key @rsa.k", "verify none", "TLSv1.3"),
            (
                "-cert @one.c -key @one.k -Verify 1 -CAfile @root.c",
                "verify none crt @client.pem",
                "TLSv1.3",
            ),
            (
                "-no_ticket -cert @one.c -key @one.k",
                "verify none no-tls-tickets",
                "TLSv1.3",
            ),
        ] {
            let (front, back) = (port(), port());
            let _server = Openssl::start(back, server);
            let words = at(words);
            let _proxy = Proxy::start(
                program,
                &format!(
                    "{TIMES}listen l\n    bind 127.0.0.1:{front}\n    http-after-response set-header x-tls \"%[ssl_bc_protocol] %[ssl_s_s_dn(O)]\"\n    server s 127.0.0.1:{back} ssl {words}\n"
                ),
            );
            let answer = get(front, "/");
            let told = answer.header("x-tls");
            assert_eq!(
                (answer.status, told.as_deref()),
                (200, Some(&*format!("{wanted} Lab"))),
                "{}: {server}",
                program.name
            );
        }
    });
}

#[test]
fn a_server_added_while_running_has_what_global_says_of_tls() {
    each(|program| {
        let (front, tls) = (port(), port());
        let door = tls_door(tls, "").replace("<%[ssl_fc_alpn]>", "%[ssl_fc_protocol]");
        let proxy = Proxy::start(
            program,
            &format!(
                "    tune.ssl.keylog on\n    ssl-server-verify none\n    ssl-default-server-options force-tlsv12\n    ssl-default-server-ciphers ECDHE-ECDSA-AES256-GCM-SHA384\n{TIMES}frontend f\n    bind 127.0.0.1:{front}\n    default_backend b\n    http-after-response set-header x-tls \"%[ssl_bc_cipher] %[ssl_bc_session_key,hex,length] %[ssl_bc_is_resumed]\"\nbackend b\n{door}"
            ),
        );
        let said = proxy.control(&format!(
            "add server b/s 127.0.0.1:{tls} ssl sni str(late.example)"
        ));
        assert!(
            said.contains("New server registered"),
            "{}: {said}",
            program.name
        );
        proxy.control("enable server b/s");
        let answer = get(front, "/");
        assert_eq!(answer.body, "<late.example> 0 TLSv1.2", "{}", program.name);
        let told = answer.header("x-tls");
        let wanted = "ECDHE-ECDSA-AES256-GCM-SHA384 96 0";
        assert_eq!(told.as_deref(), Some(wanted), "{}", program.name);
    });
}

#[test]
fn tls_to_a_server_is_turned_off_and_on() {
    each(|program| {
        let (front, tls) = (port(), port());
        let proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    http-reuse always\nfrontend f\n    bind 127.0.0.1:{front}\n    default_backend b\nbackend b\n    default-server ssl verify none\n    server s 127.0.0.1:{tls}\nbackend c\n    server plain 127.0.0.1:{tls}\n    server off 127.0.0.1:{tls}\nbackend d\n    default-server ssl verify none\n    server off 127.0.0.1:{tls} no-ssl\n{}",
                tls_door(tls, "")
            ),
        );
        let say = |command: &str| proxy.control(command).trim_end().to_string();
        assert_eq!(get(front, "/").status, 200, "{}", program.name);
        assert_eq!(say("set server b/s ssl off"), "server ssl setting updated.");
        // Plain HTTP to that door is no request: neither is it sent over what was kept.
        assert_ne!(get(front, "/").status, 200, "{}", program.name);
        assert_eq!(say("set server b/s ssl on"), "server ssl setting updated.");
        assert_eq!(get(front, "/").status, 200, "{}", program.name);
        assert_eq!(
            say("set server d/off ssl on"),
            "server ssl setting updated."
        );
        for (command, wanted) in [
            (
                "set server c/plain ssl on",
                "'set server <srv> ssl' cannot be set.  default-server should define ssl settings",
            ),
            (
                "set server b/s ssl perhaps",
                "'set server <srv> ssl' expects 'on' or 'off'.",
            ),
        ] {
            assert_eq!(say(command), wanted, "{}", program.name);
        }
    });
}

/// HAProxy reloads by another process, which has no connection yet.
#[test]
fn what_a_new_file_says_of_tls_holds_for_kept_connections_too() {
    let (front, tls, plain) = (port(), port(), Server::named("plain"));
    let text = |words: &str| {
        format!(
            "{TIMES}    http-reuse always\n    retries 0\nfrontend f\n    bind 127.0.0.1:{front}\n    default_backend b\nbackend b\n    server s {words}\n{}",
            tls_door(tls, "")
        )
    };
    let believed = format!("127.0.0.1:{tls} ssl verify none");
    let proxy = Proxy::start(&Program::mulgil(), &text(&believed));
    let mut staying = Client::connect(front);
    let mut ask = || staying.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status;
    let reload = |words: &str, count: usize| {
        let old = std::fs::read_to_string(&proxy.file).expect("a file");
        let (head, _) = old.split_once("defaults\n").expect("a section");
        std::fs::write(&proxy.file, format!("{head}{}", text(words))).expect("written");
        proxy.signal("-HUP");
        let end = Instant::now() + PATIENCE;
        while proxy.output().matches("in force").count() < count {
            assert!(Instant::now() < end, "{}", proxy.output());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    assert_eq!(ask(), 200);
    // Who was believed without a look is looked at now.
    let root = made().path("root.c");
    reload(&format!("127.0.0.1:{tls} ssl ca-file {root}"), 1);
    assert_eq!(ask(), 503);
    // What was plain is encrypted now, at the same address.
    reload(&plain.addr.to_string(), 2);
    assert_eq!(ask(), 200);
    reload(&format!("{} ssl verify none", plain.addr), 3);
    assert_eq!(ask(), 503);
}

#[test]
fn a_server_that_is_no_longer_believed_is_not_asked_over_what_was_kept() {
    let (front, tls) = (port(), port());
    let folder = lab::Folder::new();
    let authorities = crate::join(&folder, "authorities.pem", &[&at("@one.c")]);
    let proxy = Proxy::start(
        &Program::mulgil(),
        &format!(
            "{TIMES}    http-reuse always\n    retries 0\nlisten f\n    bind 127.0.0.1:{front}\n    server s 127.0.0.1:{tls} ssl ca-file {authorities}\n{}",
            tls_door(tls, "")
        ),
    );
    let mut staying = Client::connect(front);
    let mut ask = || staying.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n").status;
    let commit = |file: &str| {
        let pem = std::fs::read_to_string(made().path(file)).expect("a file");
        proxy.control(&format!("set ssl ca-file {authorities} <<\n{pem}"));
        let said = proxy.control(&format!("commit ssl ca-file {authorities}"));
        assert!(said.contains("Success!"), "{said}");
    };
    assert_eq!(ask(), 200);
    commit("root.c");
    assert_eq!(ask(), 503);
    commit("one.c");
    assert_eq!(ask(), 200);
}
