//! Rules that say something else than the configuration: addresses, times, retries, a pause.

use lab::{Client, LogSink, Server, each, get, port};
use std::time::{Duration, Instant};

const TIMES: &str = "defaults\n    mode http\n    timeout client 5s\n    timeout server 5s\n    timeout connect 1s\n";

#[test]
fn addresses_set_by_rules_count_for_rules_headers_logs_and_servers_of_any_address() {
    each(|program| {
        let (port, sink, server) = (port(), LogSink::new(), Server::named("a"));
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format 'at %ci:%cp for %fi:%fp by %bi to %[bc_dst]:%[bc_dst_port]'\n    option forwardfor\n    http-request set-src hdr(x-src)\n    http-request set-src-port hdr(x-port)\n    http-request set-dst hdr(x-dst)\n    http-request set-dst-port int({})\n    http-request deny status 429 if {{ src 192.0.2.66 }}\n    http-request set-header x-seen %[src]:%[src_port]/%[fc_src]/%[dst]:%[dst_port]/%[fc_dst]\n    default_backend b\nbackend b\n    server any 0.0.0.0:0\n",
            sink.port,
            server.addr.port()
        );
        let _proxy = lab::Proxy::start(program, &config);
        let mut client = Client::connect(port);
        let ask = |client: &mut Client, src: &str| {
            client.ask(&format!(
                "GET / HTTP/1.1\r\nHost: h\r\nX-Src: {src}\r\nX-Port: 4711\r\nX-Dst: 127.0.0.1\r\n\r\n"
            ))
        };
        assert_eq!(
            ask(&mut client, "192.0.2.7").status,
            200,
            "{}",
            program.name
        );
        let seen = server.requests().pop().unwrap_or_default().to_lowercase();
        let header = format!(
            "x-seen: 192.0.2.7:4711/127.0.0.1/127.0.0.1:{}/127.0.0.1\r\n",
            server.addr.port()
        );
        assert!(seen.contains(&header), "{}: {seen}", program.name);
        assert!(
            seen.contains("x-forwarded-for: 192.0.2.7\r\n"),
            "{}: {seen}",
            program.name
        );
        let line = sink.line("at ");
        let port = server.addr.port();
        let end =
            format!("at 192.0.2.7:4711 for 127.0.0.1:{port} by 127.0.0.1 to 127.0.0.1:{port}");
        assert!(line.contains(&end), "{}: {line}", program.name);
        assert_eq!(
            ask(&mut client, "192.0.2.66").status,
            429,
            "{}",
            program.name
        );
    });
}

#[test]
fn a_request_may_have_its_own_timeouts() {
    each(|program| {
        let server = Server::start(|request, _| {
            // What is asked for slowly is not answered in time.
            if request.contains("/slow") {
                std::thread::sleep(Duration::from_secs(2));
            }
            false
        });
        let port = port();
        let config = format!(
            "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    default_backend b\nbackend b\n    http-request set-timeout server 200ms if {{ path /slow }}\n    http-request set-timeout tunnel int(3000)\n    http-request set-timeout server 1500ms if {{ path /cur }}\n    http-request return status 200 content-type text/plain lf-string %[be_server_timeout]/%[cur_server_timeout]/%[cur_tunnel_timeout] if {{ path /cur }}\n    server s {}\n",
            server.addr
        );
        let _proxy = lab::Proxy::start(program, &config);
        assert_eq!(get(port, "/cur").body, "5000/1500/3000", "{}", program.name);
        assert_eq!(get(port, "/slow").status, 504, "{}", program.name);
    });
}

#[test]
fn rules_pause_and_set_retries() {
    let port = port();
    let config = format!(
        "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    http-request pause 300ms if {{ path /held }}\n    http-request pause int(200)\n    http-request set-retries 0\n    http-request set-bc-tos 0x20\n    default_backend b\nbackend b\n    server s 127.0.0.1:1\n"
    );
    let _proxy = lab::Proxy::start(&lab::Program::mulgil(), &config);
    let begun = Instant::now();
    assert_eq!(get(port, "/held").status, 503);
    // Held for both pauses, and not for the second that a retry would have waited.
    assert!(begun.elapsed() >= Duration::from_millis(500));
}
