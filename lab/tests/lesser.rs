//! Lesser words of the language, each with its effect.

use lab::{Client, Folder, LogSink, Program, Proxy, Server, each, port};
use std::io::Write;

const TIMES: &str = "    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n    timeout check 5s\n";

#[test]
fn a_file_without_anything_to_listen_on_has_an_exit_status_of_its_own() {
    each(|program| {
        let folder = Folder::new();
        for text in [
            "global\n    daemon\n",
            "backend b\n    server s 127.0.0.1:1\n",
            "frontend f\n    mode http\n",
            "frontend f\n    bind 127.0.0.1:1\n    disabled\n",
            "\n",
        ] {
            let file = folder.file("none.cfg", text.as_bytes());
            let (status, said) = program.run(&["-c", "-f", &file]);
            assert_eq!(status, 2, "{} {text}", program.name);
            assert!(
                said.contains("will not start (no listener) => exit(2)"),
                "{said}"
            );
            let (status, _) = program.run(&["-db", "-f", &file]);
            assert_eq!(status, 1, "{} {text}", program.name);
        }
        let socket = folder.path("socket");
        let text = format!("global\n    stats socket {socket}\n");
        let file = folder.file("socket.cfg", text.as_bytes());
        assert_eq!(program.run(&["-c", "-f", &file]).0, 0, "{}", program.name);
    });
}

#[test]
fn a_reload_without_anything_to_listen_on_changes_nothing() {
    let folder = Folder::new();
    let (web, socket) = (port(), folder.path("socket"));
    let text = format!(
        "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    http-request return status 204\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &text);
    let whole = std::fs::read_to_string(&proxy.file).expect("its file");
    std::fs::write(&proxy.file, format!("backend b\n    # not {socket}\n")).expect("it is written");
    proxy.signal("-HUP");
    proxy.wait_for_output("nothing is listened on");
    assert_eq!(lab::get(web, "/").status, 204);
    std::fs::write(&proxy.file, whole).expect("it is written");
}

#[test]
fn files_are_told_of_the_process_by_variables() {
    each(|program| {
        let web = port();
        let text = format!(
            "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    \
             http-request return status 200 content-type text/plain lf-string \"$HAPROXY_LOCALPEER|%[env(HAPROXY_CFGFILES)]|%[env(HAPROXY_MWORKER)]\"\n"
        );
        let proxy = Proxy::start(program, &text);
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        let wanted = format!("{}|{}|", name.trim(), proxy.file);
        assert_eq!(lab::get(web, "/").body, wanted, "{}", program.name);
    });
}

/// The oracle has these variables from 2.8 on.
#[test]
fn the_usual_formats_of_log_lines_stand_in_variables() {
    let (web, sink) = (port(), LogSink::new());
    let text = format!(
        "defaults\n{TIMES}listen web\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} local0\n    \
         log-format \"${{HAPROXY_HTTP_LOG_FMT}} and %[path]\"\n    http-request return status 204\n",
        sink.port
    );
    let _proxy = Proxy::start(&Program::mulgil(), &text);
    assert_eq!(lab::get(web, "/x").status, 204);
    let line = sink.line("web/<NOSRV>");
    assert!(line.ends_with("\"GET /x HTTP/1.1\" and /x"), "{line}");
}

/// A server that says what header names it saw, and answers with some.
fn echo() -> Server {
    Server::start(|request, stream| {
        let names: Vec<&str> = request
            .lines()
            .skip(1)
            .filter_map(|l| l.split_once(':').map(|(n, _)| n))
            .collect();
        let body = names.join(",");
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nx-foo: 1\r\nX-Foo: 2\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).is_ok()
    })
}

#[test]
fn header_names_are_written_as_bogus_peers_want_them() {
    each(|program| {
        let (server, web, plain) = (echo(), port(), port());
        let folder = Folder::new();
        let names = folder.file("case.txt", b"# names\n\n  x-foo\tX-FOO \n");
        let text = format!(
            "global\n    h1-case-adjust content-length Content-LENGTH\n    h1-case-adjust host HOST\n    \
             h1-case-adjust-file {names}\ndefaults\n{TIMES}frontend web\n    bind 127.0.0.1:{web}\n    \
             option h1-case-adjust-bogus-client\n    http-request return status 204 hdr x-foo 3 if {{ path /own }}\n    \
             default_backend app\nfrontend plain\n    bind 127.0.0.1:{plain}\n    default_backend usual\n\
             backend app\n    option h1-case-adjust-bogus-server\n    server s {0}\n\
             backend usual\n    server s {0}\n",
            server.addr
        );
        let _proxy = Proxy::start(program, &text);
        let ask = |at, path: &str| {
            Client::connect(at).ask(&format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nX-foo: b\r\nConnection: close\r\n\r\n"
            ))
        };
        let answer = ask(web, "/");
        assert_eq!(
            answer.body.split(',').take(2).collect::<Vec<_>>(),
            ["HOST", "X-FOO"],
            "{}",
            program.name
        );
        assert!(
            answer.head.contains("\r\nContent-LENGTH: "),
            "{}: {}",
            program.name,
            answer.head
        );
        assert_eq!(
            answer.head.matches("\r\nX-FOO: ").count(),
            2,
            "{}: {}",
            program.name,
            answer.head
        );
        assert!(
            ask(web, "/own").head.contains("\r\nX-FOO: 3"),
            "{}",
            program.name
        );
        let answer = ask(plain, "/");
        assert!(
            !answer.body.contains("HOST"),
            "{}: {}",
            program.name,
            answer.body
        );
        assert!(
            !answer.head.contains("X-FOO"),
            "{}: {}",
            program.name,
            answer.head
        );
    });
}

#[test]
fn slips_in_header_cases_are_refused() {
    each(|program| {
        let folder = Folder::new();
        let bad = folder.file("bad.txt", b"x-foo\n");
        for lines in [
            "h1-case-adjust host HOTS".to_string(),
            "h1-case-adjust host".to_string(),
            "h1-case-adjust host HOST\n h1-case-adjust host Host".to_string(),
            format!("h1-case-adjust-file {bad}"),
            format!("h1-case-adjust-file {}", folder.path("absent")),
        ] {
            let text = format!("global\n {lines}\nlisten a\n bind 127.0.0.1:1\n");
            let file = folder.file("case.cfg", text.as_bytes());
            assert_eq!(
                program.run(&["-c", "-f", &file]).0,
                1,
                "{} {lines}",
                program.name
            );
        }
    });
}

/// What a NetScaler writes before the bytes of a client that came from 192.0.2.7:4321 to
/// 198.51.100.9:443: the newer form, or the older one.
fn inserted(newer: bool) -> Vec<u8> {
    let mut headers = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    headers.extend([192, 0, 2, 7, 198, 51, 100, 9, 16, 225, 1, 187]);
    headers.extend([0; 16]);
    let length = headers.len() as u8;
    let mut bytes = vec![0x12, 0x34, 0x56, 0x78, 0, 0, 0];
    match newer {
        true => bytes.extend([length + 12, 0, 1, 0, length]),
        false => bytes.push(length),
    }
    bytes.extend(headers);
    bytes
}

/// Answers with the addresses that count.
const ECHO: &str = "    http-request return status 200 content-type text/plain lf-string %[src]:%[src_port]-%[dst]:%[dst_port]\n";

#[test]
fn a_netscaler_tells_of_the_client() {
    each(|program| {
        let (web, ruled, log) = (port(), port(), LogSink::new());
        let text = format!(
            "defaults\n{TIMES}    log 127.0.0.1:{} local0\n    option httplog\n    option dontlognull\n\
             frontend web\n    bind 127.0.0.1:{web} accept-netscaler-cip 305419896\n    \
             {ECHO}frontend ruled\n    bind 127.0.0.1:{ruled}\n    tcp-request connection expect-netscaler-cip layer4 if {{ src 127.0.0.9 }}\n{ECHO}",
            log.port
        );
        let _proxy = Proxy::start(program, &text);
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let wanted = "192.0.2.7:4321-198.51.100.9:443";
        for newer in [true, false] {
            let mut client = Client::connect(web);
            client.send([&inserted(newer)[..], request].concat());
            assert_eq!(client.response().body, wanted, "{}", program.name);
            let line = log.line(" web ");
            assert!(
                line.contains(" 192.0.2.7:4321 ["),
                "{}: {line}",
                program.name
            );
        }
        let mut client = Client::connect(web);
        client.send(request);
        assert!(client.closed(), "{}", program.name);
        log.line("Received an invalid NetScaler Client IP magic number");
        let mut datagram = inserted(false);
        datagram[17] = 17;
        let mut client = Client::connect(web);
        client.send([&datagram[..], request].concat());
        assert!(client.closed(), "{}", program.name);
        log.line("Received an unhandled protocol in the NetScaler Client IP header");
        // By a rule it is for some clients; the number is the listener's, which says none here.
        let mut zero = inserted(true);
        zero[..4].fill(0);
        let mut client = Client::connect_from([127, 0, 0, 9], ruled);
        client.send([&zero[..], request].concat());
        assert_eq!(client.response().body, wanted, "{}", program.name);
        let mut client = Client::connect(ruled);
        client.send(request);
        assert!(
            client.response().body.starts_with("127.0.0.1:"),
            "{}",
            program.name
        );
    });
}

#[test]
fn lines_have_structured_data_where_their_format_has_room_for_it() {
    each(|program| {
        let (web, sink, old) = (port(), LogSink::new(), LogSink::new());
        let text = format!(
            "defaults\n{TIMES}frontend web\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} format rfc5424 local0\n    \
             log 127.0.0.1:{} local0\n    log-format \"line %ST\"\n    \
             log-format-sd %{{+Q,+E}}o\\ [web@32473\\ path=%[capture.req.uri]\\ status=\\\"%ST\\\"]\n    \
             http-request return status 204\n",
            sink.port, old.port
        );
        let _proxy = Proxy::start(program, &text);
        let answer = Client::connect(web).ask("GET /a]b HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.status, 204, "{}", program.name);
        let line = sink.line("line 204");
        let wanted = " - [web@32473 path=\"/a\\]b\" status=\"204\"] line 204";
        assert!(line.ends_with(wanted), "{}: {line}", program.name);
        let line = old.line("line 204");
        assert!(!line.contains("web@32473"), "{}: {line}", program.name);
    });
}

#[test]
fn checks_tell_of_their_own_connection_where_local_is_not_understood() {
    each(|program| {
        for (words, command) in [("", 0x20), ("    pp2-never-send-local\n", 0x21)] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let at = listener.local_addr().expect("an address");
            let text = format!(
                "{words}defaults\n{TIMES}listen l\n    bind 127.0.0.1:{}\n    server s {at} check inter 200ms send-proxy-v2\n",
                port()
            );
            let _proxy = Proxy::start(program, &text);
            let (mut stream, _) = listener.accept().expect("a check");
            let mut header = [0; 16];
            std::io::Read::read_exact(&mut stream, &mut header).expect("a header");
            assert_eq!(header[12], command, "{}: {header:?}", program.name);
        }
    });
}
