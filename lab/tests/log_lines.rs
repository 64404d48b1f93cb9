//! What log lines show: captures by their slots, numbers of requests and lines, what is escaped, and
//! what stands where there is nothing to show.

use lab::{Client, LogSink, Program, Proxy, each, get, port, refusing};
use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const TIMES: &str = "defaults\n    mode http\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n    retries 0\n";

/// Runs a scenario with both programs; the lines that it gives must be the same.
fn same(scenario: impl Fn(&Program) -> Vec<String>) {
    let all: RefCell<Vec<Vec<String>>> = RefCell::default();
    each(|program| all.borrow_mut().push(scenario(program)));
    if let [oracle, ours] = all.into_inner().as_slice() {
        assert_eq!(oracle, ours, "the oracle's is the first");
    }
}

/// The next line with these words, from its mark on.
fn line(log: &LogSink, with: &str) -> String {
    let line = log.line(with);
    let from = line.find("]: ").map_or(0, |at| at + 3);
    line.get(from..).unwrap_or_default().to_owned()
}

#[test]
fn captures_stand_in_the_order_of_their_lines_and_are_cut_to_their_slots() {
    same(|program| {
        let (port, log) = (port(), LogSink::new());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n\
                 \x20   declare capture request len 6\n    capture request header A len 3\n    http-request capture path len 5\n\
                 \x20   capture request header B len 9\n    http-request capture req.hdr(a) id 0\n    http-request capture req.hdr(b) id 1 if {{ path /over }}\n\
                 \x20   declare capture response len 4\n    capture response header X len 2\n    http-after-response capture res.hdr(x) id 0\n\
                 \x20   log-format \"%hr %hs %hrl %hsl %[capture.req.hdr(0)] %[capture.req.hdr(3)] %[capture.res.hdr(0)] end\"\n\
                 \x20   http-request return status 200 hdr x abcdefghi\n",
                log.port
            ),
        );
        let asked = |path: &str| {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nA: 123456789\r\nB: x|{{y}} \"z\"#\r\n\r\n"
            );
            assert_eq!(Client::connect(port).ask(&request).status, 200);
            line(&log, " end")
        };
        vec![asked("/a"), asked("/over")]
    });
}

#[test]
fn a_line_shows_its_request_s_number_and_what_its_frontend_counted() {
    same(|program| {
        let (ports, log) = ([port(), port()], LogSink::new());
        let frontend = |name: &str, port: u16| {
            format!(
                "frontend {name}\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    unique-id-format \"  %rt:%rt\"\n\
                 \x20   log-format \"  {name} rt=%rt lc=%lc id=%ID T=%T=%trg Ts=%Ts end\"\n    http-request return status 200 hdr x-id %[unique-id]\n",
                log.port
            )
        };
        let text = [frontend("a", ports[0]), frontend("b", ports[1])].concat();
        let _proxy = Proxy::start(program, &format!("{TIMES}{text}"));
        let mut numbers = Vec::new();
        let mut lines = Vec::new();
        for (name, port) in [("a ", ports[0]), ("b ", ports[1]), ("a ", ports[0])] {
            let shown = get(port, "/").header("x-id").unwrap_or_default();
            let line = line(&log, " end");
            assert!(line.starts_with(name), "{}: {line}", program.name);
            let of = |key: &str| {
                let word = line.split(' ').find_map(|w| w.strip_prefix(key));
                word.unwrap_or_default().to_owned()
            };
            let number = of("rt=");
            let both = format!("{number}:{number}");
            assert_eq!(shown, both, "{}", program.name);
            assert_eq!(of("id="), both, "{}: {line}", program.name);
            numbers.push(number.parse::<u64>().unwrap());
            lines.push(of("lc="));
        }
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        lines
    });
}

#[test]
fn a_frontend_counts_the_lines_that_it_has_logged() {
    same(|program| {
        let (ports, log) = ([port(), port()], LogSink::new());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}    log 127.0.0.1:{log} local0\n    log-format \"%lc %lc id=%ID end\"\n    error-log-format \"error %lc end\"\n\
                 frontend a\n    bind 127.0.0.1:{}\n    unique-id-format %lc\n    http-request return status 200 hdr x-id %[unique-id]\n\
                 frontend b\n    bind 127.0.0.1:{}\n    mode tcp\n    tcp-request content reject\n",
                ports[0],
                ports[1],
                log = log.port
            ),
        );
        let asks = ["GET / HTTP/1.0\r\n\r\n", "BAD\r\n\r\n"];
        let talks = [(0, 0), (0, 0), (0, 1), (0, 1), (0, 0), (1, 1), (1, 0)];
        talks
            .map(|(frontend, ask)| {
                let mut client = Client::connect(ports[frontend]);
                client.send(asks[ask]);
                client.closed();
                line(&log, " end")
            })
            .into()
    });
}

#[test]
fn where_a_client_came_to_is_known_though_it_has_reset() {
    same(|program| {
        let (port, log) = (port(), LogSink::new());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind *:{port}\n    log 127.0.0.1:{} local0\n    log-format \"[%[fc_dst]] %fi %fp %[dst_port] %ts end\"\n    http-request return status 200\n",
                log.port
            ),
        );
        let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        client.write_all(b"GET / HT").expect("sent");
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .expect("set");
        drop(client);
        vec![line(&log, " end").replace(&port.to_string(), "PORT")]
    });
}

#[test]
fn what_is_captured_but_empty_is_no_dash_and_an_asterisk_no_path() {
    same(|program| {
        let (port, log) = (port(), LogSink::new());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    capture request header A len 9\n    capture request header B len 9\n    capture request header C len 9\n\
                 \x20   log-format \"[%hrl] %hr [%{{+Q}}hrl] HPO=%HPO|%{{+Q}}HPO end\"\n    http-request return status 200\n",
                log.port
            ),
        );
        ["OPTIONS *", "GET /p?q"]
            .map(|asked| {
                let mut client = Client::connect(port);
                client.ask(&format!(
                    "{asked} HTTP/1.1\r\nHost: h\r\nA:\r\nB: b\r\n\r\n"
                ));
                line(&log, " end")
            })
            .into()
    });
}

#[test]
fn what_is_not_there_and_what_could_break_a_line_look_as_the_oracle_s() {
    same(|program| {
        let (port, log, nobody) = (port(), LogSink::new(), refusing());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n\n\
                 \x20   log-format \"  %r | %{{+Q}}r | %{{+E}}r | %{{+Q,+E}}r HM=%HM HP=%HP %HQ %{{+Q}}HQ HU=%HU HV=%HV  %hr   %hs hrl=%hrl %s %ST %[capture.req.uri] end\"\n\
                 \x20   http-request return status 200 hdr x-path \"<%[path]>\" hdr x-pathq \"<%[pathq]>\" hdr x-uri \"<%[capture.req.uri]>\" hdr x-base \"<%[base]>\" if !{{ path /gone }}\n\
                 \x20   default_backend b\nbackend b\n    server s 127.0.0.1:{nobody}\n",
                log.port
            ),
        );
        let mut seen = Vec::new();
        for request in [
            "GET /a\"\\]{|}^`~?q\"\\] HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /plain HTTP/1.0\r\n\r\n",
            "GET /empty? HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET http://h/abs?q=1 HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "BAD\r\n\r\n",
        ] {
            let mut client = Client::connect(port);
            client.send(request);
            let answer = client.response();
            for name in ["x-path", "x-pathq", "x-uri", "x-base"] {
                seen.push(format!("{name}: {:?}", answer.header(name)));
            }
            seen.push(line(&log, " end"));
        }
        seen
    });
}

#[test]
fn a_server_that_refuses_has_its_address_in_the_line() {
    each(|program| {
        let (port, log, nobody) = (port(), LogSink::new(), refusing());
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{port}\n    log 127.0.0.1:{} local0\n    log-format \"%b/%s %si:%sp %ts end\"\n    default_backend b\nbackend b\n    server s 127.0.0.1:{nobody}\n",
                log.port
            ),
        );
        assert_eq!(get(port, "/").status, 503);
        let wanted = format!("b/s 127.0.0.1:{nobody} SC end");
        assert_eq!(line(&log, " end"), wanted, "{}", program.name);
    });
}

#[test]
fn lines_that_are_written_early_say_so_even_at_the_end() {
    same(|program| {
        let (log, nobody) = (LogSink::new(), refusing());
        let ports = [port(), port(), port()];
        let _proxy = Proxy::start(
            program,
            &format!(
                "{TIMES}frontend f\n    bind 127.0.0.1:{}\n    log 127.0.0.1:{log} local0\n    option logasap\n    log-format \"%f %b/%s %Tt %B %ST %ts end\"\n\
                 \x20   http-request return status 200 if {{ path /a }}\n    default_backend b\nbackend b\n    server s 127.0.0.1:{nobody}\n\
                 frontend t\n    bind 127.0.0.1:{}\n    mode tcp\n    log 127.0.0.1:{log} local0\n    option logasap\n    log-format \"%f %b/%s %Tt %B %ts end\"\n    tcp-request content reject\n\
                 frontend plain\n    bind 127.0.0.1:{}\n    mode tcp\n    log 127.0.0.1:{log} local0\n    tcp-request content reject\n",
                ports[0],
                ports[1],
                ports[2],
                log = log.port
            ),
        );
        let mut lines = Vec::new();
        for request in [
            "GET /a HTTP/1.0\r\n\r\n",
            "GET /b HTTP/1.0\r\n\r\n",
            "BAD\r\n\r\n",
        ] {
            let mut client = Client::connect(ports[0]);
            client.send(request);
            client.response();
            lines.push(line(&log, " end"));
        }
        for (port, with) in [(ports[1], " end"), (ports[2], "(plain/")] {
            let mut client = Client::connect(port);
            client.send("x");
            client.closed();
            lines.push(line(&log, with));
        }
        // Times, lengths of pages and ports differ.
        let digits = |c: char| c.is_ascii_digit();
        let plain = |line: String| {
            line.split(digits)
                .filter(|w| !w.is_empty())
                .collect::<String>()
        };
        lines.into_iter().map(plain).collect()
    });
}

#[test]
fn what_becomes_of_proxies_is_told() {
    same(|program| {
        let (log, nobody) = (LogSink::new(), refusing());
        let ports = [port(), port(), port()];
        let mut proxy = Proxy::start(
            program,
            &format!(
                "global\n    log 127.0.0.1:{} local0\n{TIMES}    log global\n\
                 frontend f\n    bind 127.0.0.1:{}\n    http-request return status 200\n\
                 listen l\n    bind 127.0.0.1:{}\n    server s 127.0.0.1:{nobody}\n\
                 frontend z\n    bind 127.0.0.1:{}\n    http-request return status 200\n\
                 backend b\n    server s 127.0.0.1:{nobody}\n",
                log.port, ports[0], ports[1], ports[2]
            ),
        );
        assert_eq!(get(ports[0], "/").status, 200);
        line(&log, "(f/HTTP)");
        assert_eq!(get(ports[1], "/").status, 503);
        line(&log, "(l/HTTP)");
        let mut lines = Vec::new();
        for (command, with) in [
            ("disable frontend f", " f."),
            ("enable frontend f", " f."),
            ("disable frontend l", " l."),
            ("enable frontend l", " l."),
            ("disable server l/s", "no server"),
            ("disable server b/s", "no server"),
            ("shutdown frontend z", " z "),
        ] {
            proxy.control(command);
            lines.push(line(&log, with));
        }
        proxy.signal("-USR1");
        proxy.ended();
        // The last lines are not lost with the process, and nothing is told twice.
        while lines
            .last()
            .is_none_or(|l| !l.starts_with("Proxy b stopped"))
        {
            lines.push(line(&log, " stopped ("));
        }
        lines
    });
}

#[test]
fn a_session_of_bytes_has_a_unique_id_and_counts_what_came_before_it_was_refused() {
    same(|program| {
        let (log, ports) = (LogSink::new(), [port(), port()]);
        let silent = lab::listener();
        let silent_port = silent.local_addr().map_or(0, |a| a.port());
        let proxy = Proxy::start(
            program,
            &format!(
                "defaults\n    mode tcp\n    timeout client 2s\n    timeout server 100ms\n    timeout connect 2s\n    log 127.0.0.1:{log} local0\n    log-format \"id=%ID %[unique-id] %f %ts %U end\"\n\
                 frontend f\n    bind 127.0.0.1:{}\n    unique-id-format \" %{{+X}}o%ci:%rt\"\n    tcp-request inspect-delay 2s\n    tcp-request content reject if {{ req.payload(0,3) -m str bad }}\n    tcp-request content accept if {{ req.len gt 2 }}\n    default_backend b\n\
                 listen plain\n    bind 127.0.0.1:{}\n    server s 127.0.0.1:{silent_port}\n\
                 backend b\n    server s 127.0.0.1:{silent_port}\n",
                ports[0],
                ports[1],
                log = log.port
            ),
        );
        let mut lines = Vec::new();
        for (port, bytes) in [
            (ports[0], "bad one"),
            (ports[0], "good one"),
            (ports[1], "xyz"),
        ] {
            let mut client = Client::connect(port);
            client.send(bytes);
            client.closed();
            drop(client);
            lines.push(line(&log, " end"));
        }
        for (name, side) in [("f", "FRONTEND"), ("b", "BACKEND"), ("plain", "s")] {
            let fields = proxy.stats(name, side, &["bin", "dreq", "srv_abrt"]);
            lines.push(fields.join(" "));
        }
        lines
    });
}
