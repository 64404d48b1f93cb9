//! `eject`: a server whose traffic fails takes no new clients for a while. The oracle has no such
//! words.

use lab::{LogSink, Program, Proxy, Server, get, port, refusing};
use std::io::Read;
use std::net::TcpStream;

const TIMES: &str = "defaults\n    timeout client 2s\n    timeout server 2s\n    timeout connect 1s\n    retries 0\n";

/// A server whose answers all have this status.
fn with_status(status: &'static [u8]) -> Server {
    Server::fixed(status, true)
}

#[test]
fn a_server_that_fails_in_a_row_gets_nobody_until_its_time_is_over() {
    let (bad, good) = (
        with_status(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        Server::named("good"),
    );
    let (web, log) = (port(), LogSink::new());
    let config = format!(
        "{TIMES}listen web\n    mode http\n    bind 127.0.0.1:{web}\n    log 127.0.0.1:{} local0\n    eject errors 3 for 2s\n    server bad 127.0.0.1:{} slowstart 1s\n    server good 127.0.0.1:{}\n",
        log.port,
        bad.addr.port(),
        good.addr.port()
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    let failed = (0..20).filter(|_| get(web, "/").status == 500).count();
    assert_eq!(failed, 3);
    assert_eq!(proxy.stat("web", "bad", "status"), "NOLB");
    let line = log.line("takes no new clients");
    assert!(
        line.contains("Server web/bad takes no new clients for 2s: 3 failures in a row."),
        "{line}"
    );
    log.line("Server web/bad takes new clients again.");
    assert_eq!(proxy.stat("web", "bad", "status"), "no check");
}

#[test]
fn the_last_server_and_more_than_the_share_are_never_taken_out() {
    let bad = || with_status(b"HTTP/1.1 503 Oops\r\nContent-Length: 0\r\n\r\n");
    let (one, two, three) = (bad(), bad(), bad());
    let web = port();
    let servers = [&one, &two, &three].map(|s| s.addr.port());
    let [a, b, c] = servers;
    let config = format!(
        "{TIMES}listen web\n    mode http\n    bind 127.0.0.1:{web}\n    eject errors 1 for 10s at-most 70%\n    server a 127.0.0.1:{a}\n    server b 127.0.0.1:{b}\n    server c 127.0.0.1:{c}\n"
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    for _ in 0..12 {
        assert_eq!(get(web, "/").status, 503);
    }
    let out = || {
        let states = ["a", "b", "c"].map(|s| proxy.stat("web", s, "status"));
        states.iter().filter(|s| *s == "NOLB").count()
    };
    assert_eq!(out(), 2);
    let answered: usize = [&one, &two, &three]
        .iter()
        .map(|s| s.requests().len())
        .sum();
    assert_eq!(answered, 12, "a server was there for each");
    // The one that is left goes for another reason: those that are out come back.
    for name in ["a", "b", "c"] {
        if proxy.stat("web", name, "status") != "NOLB" {
            proxy.control(&format!("set server web/{name} state maint"));
            break;
        }
    }
    assert!(out() <= 1);
    get(web, "/");
    let answered: usize = [&one, &two, &three]
        .iter()
        .map(|s| s.requests().len())
        .sum();
    assert_eq!(answered, 13);
}

#[test]
fn connections_of_mode_tcp_that_fail_count_too() {
    let good = Server::named("good");
    let web = port();
    let config = format!(
        "{TIMES}listen web\n    mode tcp\n    bind 127.0.0.1:{web}\n    eject errors 2 for 10s\n    server bad 127.0.0.1:{}\n    server good 127.0.0.1:{}\n",
        refusing(),
        good.addr.port()
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    for _ in 0..6 {
        let mut stream = TcpStream::connect(("127.0.0.1", web)).expect("open");
        stream.shutdown(std::net::Shutdown::Write).expect("open");
        let _ = stream.read(&mut [0; 10]);
    }
    assert_eq!(proxy.stat("web", "bad", "status"), "NOLB");
    assert_eq!(proxy.stat("web", "bad", "econ"), "2");
}

#[test]
fn words_that_make_no_sense_are_named() {
    let folder = lab::Folder::new();
    for (line, said) in [
        ("eject", "wants 'errors' and a number"),
        ("eject errors 0", "0"),
        ("eject errors 5 for 0s", "no time at all"),
        ("eject errors 5 at-most 101%", "'101%' is no percentage"),
        ("eject error 5", "did you mean 'errors'"),
    ] {
        let text = format!(
            "{TIMES}backend b\n    {line}\n    server s 127.0.0.1:9\nfrontend f\n    bind 127.0.0.1:{}\n",
            port()
        );
        let file = folder.file("t.cfg", text.as_bytes());
        let (status, output) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && output.contains(said), "{line}: {output}");
    }
}
