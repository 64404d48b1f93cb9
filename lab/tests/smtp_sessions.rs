//! Conversations of `mode smtp` beside the mail itself: a server that goes down within a message, a
//! process that is to end, clients that log in. HAProxy has no such mode: only mulgil is tried.

#[path = "smtp/mailer.rs"]
#[allow(dead_code)] // some servers are for the other scenarios
mod mailer;

use lab::{Folder, LogSink, Program, Proxy, port};
use mailer::{Mailer, Talker, certificate};

/// A proxy with these lines in its frontend and in its only backend, `one`.
fn start(front: &str, one: &str) -> (Proxy, u16, LogSink) {
    let (port, log) = (port(), LogSink::new());
    let config = format!(
        "defaults\n  mode smtp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n  \
         log 127.0.0.1:{} local0\n  option smtplog\n\
         frontend mail\n  bind 127.0.0.1:{port} {front}\n  smtp-name mx.example\n  default_backend one\n\
         backend one\n  {one}\n",
        log.port
    );
    (Proxy::start(&Program::mulgil(), &config), port, log)
}

/// A client that has said who it is.
fn client(port: u16) -> Talker {
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client
}

/// One whose message has its recipient.
fn begun(port: u16) -> Talker {
    let mut client = client(port);
    client.ask("MAIL FROM:<a@b.example>");
    let said = client.ask("RCPT TO:<x@one.example>");
    assert!(said.starts_with("250 2.1.5"), "{said}");
    client
}

fn deliver(client: &mut Talker) -> String {
    assert_eq!(client.ask("DATA"), "354 go on");
    client.ask("text\r\n.")
}

#[test]
fn a_server_that_goes_down_ends_its_conversations_where_that_is_asked_for() {
    let (main, spare) = (Mailer::start("main"), Mailer::start("spare"));
    let health = lab::listener();
    let checked = health.local_addr().expect("an address").port();
    let lines = format!(
        "default-server inter 2s fastinter 200ms downinter 200ms fall 2 rise 1\n  \
         server main 127.0.0.1:{} check port {checked} on-marked-down shutdown-sessions\n  \
         server spare 127.0.0.1:{} backup",
        main.port, spare.port
    );
    let (proxy, port, log) = start("", &lines);
    let (mut before, mut within, mut between) = (begun(port), begun(port), begun(port));
    assert_eq!(within.ask("DATA"), "354 go on");
    within.send("half of it\r\n");
    main.wait_for("half of it");
    assert_eq!(deliver(&mut between), "250 2.0.0 main has it");
    drop(health);
    proxy.wait_for("one", "main", "status", "DOWN");
    main.wait_for_many("(gone)", 3);
    let lost = "451 4.4.2 the server is lost: try again later";
    // Nobody is told what was not asked for: the reply is that to the next command.
    assert_eq!(before.ask("DATA"), lost);
    assert_eq!(within.ask("the other half\r\n."), lost);
    for _ in 0..2 {
        let line = log.line(" 451 ");
        assert!(line.contains("one/main") && line.contains(" DD "), "{line}");
    }
    for client in [&mut before, &mut within, &mut between] {
        client.ask("MAIL FROM:<a@b.example>");
        assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 spare");
        assert_eq!(deliver(client), "250 2.0.0 spare has it");
    }
    assert_eq!((main.messages().len(), spare.messages().len()), (1, 3));
}

#[test]
fn a_process_that_is_to_end_says_so_to_idle_clients_and_finishes_messages() {
    let one = Mailer::start("one");
    let (mut proxy, port, _log) = start("", &format!("server s 127.0.0.1:{}", one.port));
    let mut silent = Talker::connect(port);
    assert!(silent.hear().starts_with("220 "));
    let (mut idle, mut sending, mut done) = (client(port), begun(port), begun(port));
    assert_eq!(deliver(&mut done), "250 2.0.0 one has it");
    assert_eq!(sending.ask("DATA"), "354 go on");
    proxy.signal("-USR1");
    // RFC 5321 section 3.8: who closes says 421 first.
    for client in [&mut silent, &mut idle, &mut done] {
        assert_eq!(client.hear(), "421 4.3.2 going away: try again later");
        assert!(client.closed());
    }
    assert_eq!(sending.ask("text\r\n."), "250 2.0.0 one has it");
    assert_eq!(sending.hear(), "421 4.3.2 going away: try again later");
    assert!(sending.closed());
    assert_eq!(proxy.ended(), 0);
    assert_eq!(one.messages().len(), 2);
}

#[test]
fn in_its_grace_a_process_that_is_to_end_takes_mail() {
    let (one, port) = (Mailer::start("one"), port());
    let config = format!(
        "    grace 1h\ndefaults\n  mode smtp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n\
         listen mail\n  bind 127.0.0.1:{port}\n  smtp-name mx.example\n  server one 127.0.0.1:{}\n",
        one.port
    );
    let proxy = Proxy::start(&Program::mulgil(), &config);
    let (mut idle, mut within) = (client(port), begun(port));
    proxy.signal("-USR1");
    lab::net::until("it stops", || {
        proxy.control("show info").contains("\nStopping: 1")
    });
    // Who is there goes on, and who comes is greeted.
    let mut later = begun(port);
    assert_eq!(deliver(&mut later), "250 2.0.0 one has it");
    assert_eq!(deliver(&mut within), "250 2.0.0 one has it");
    assert!(idle.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
    assert_eq!(one.messages().len(), 2);
}

#[test]
fn a_client_logs_in_at_a_server_and_stays_there() {
    let folder = Folder::new();
    let (pem, _) = certificate(&folder);
    let (one, two) = (Mailer::guarded("one"), Mailer::guarded("two"));
    let front = format!("starttls crt {pem}\n  smtp-auth PLAIN LOGIN SCRAM-SHA-256");
    let servers = format!(
        "server one 127.0.0.1:{}\n  server two 127.0.0.1:{}",
        one.port, two.port
    );
    let (proxy, port, _log) = start(&front, &servers);
    let mut plain = client(port);
    let hello = plain.ask("EHLO c.example");
    assert!(!hello.contains("AUTH"), "{hello}");
    let said = plain.ask("AUTH PLAIN AGFubgBzZWNyZXQ=");
    assert!(said.starts_with("538 5.7.11"), "{said}");
    let secure = || {
        let mut client = client(port);
        assert_eq!(client.ask("STARTTLS"), "220 2.0.0 ready for TLS");
        let mut client = client.encrypt();
        let hello = client.ask("EHLO c.example");
        assert!(
            hello.contains("250-AUTH PLAIN LOGIN SCRAM-SHA-256")
                || hello.contains("250 AUTH PLAIN LOGIN SCRAM-SHA-256"),
            "{hello}"
        );
        client
    };
    let mut first = secure();
    for (line, wanted) in [
        ("AUTH NTLM", "504 5.5.4"),
        ("AUTH PLAIN not base64", "501 5.5.4"),
        ("AUTH SCRAM-SHA-256 YQ==", "454 4.7.0"),
        ("AUTH PLAIN YQ==", "535 5.7.8"),
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("*", "535 5.7.8"),
        ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
        ("YW5u", "334 UGFzc3dvcmQ6"),
        ("c2VjcmV0", "235 2.7.0 one knows you"),
        ("AUTH PLAIN AGFubgBzZWNyZXQ=", "503 5.5.1"),
    ] {
        let said = first.ask(line);
        assert!(said.starts_with(wanted), "{line}: {said}");
    }
    let mut second = secure();
    let said = second.ask("auth plain AGFubgBzZWNyZXQ=");
    assert_eq!(said, "235 2.7.0 two knows you");
    // Messages go where their sender is known, and the parameter with them.
    for (client, name) in [(&mut first, "one"), (&mut second, "two")] {
        for _ in 0..2 {
            client.ask("MAIL FROM:<ann@b.example> AUTH=<>");
            assert_eq!(
                client.ask("RCPT TO:<x@c.example>"),
                format!("250 2.1.5 {name}")
            );
            assert_eq!(deliver(client), format!("250 2.0.0 {name} has it"));
        }
    }
    let told = one.messages().concat();
    assert!(
        told.contains("|AUTH LOGIN|YW5u|c2VjcmV0|MAIL FROM:<ann@b.example> AUTH=<>|"),
        "{told}"
    );
    // With its server goes what it knew.
    one.hang_up();
    first.ask("MAIL FROM:<ann@b.example>");
    let said = first.ask("RCPT TO:<x@c.example>");
    assert!(said.starts_with("421 4.4.2"), "{said}");
    assert!(first.closed());
    drop(second);
    proxy.wait_for("one", "BACKEND", "scur", "0");
}

#[test]
fn ways_to_log_in_that_cannot_work_are_refused_with_their_reason() {
    let folder = Folder::new();
    for (line, wanted) in [
        ("smtp-auth", "wants ways to log in"),
        ("smtp-auth PLAIN", "no 'bind' has TLS"),
        (
            "smtp-auth SCRAM-SHA-256-PLUS",
            "bound to the TLS of one connection",
        ),
        ("smtp-auth a.b", "'a.b' is no way to log in"),
        ("mode tcp\n  smtp-auth PLAIN", "set 'mode smtp'"),
    ] {
        let text = format!(
            "frontend mail\n  mode smtp\n  timeout client 1s\n  bind 127.0.0.1:1\n  {line}\n"
        );
        let file = folder.file("mail.cfg", text.as_bytes());
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        assert!(status != 0 && said.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn what_a_server_says_before_it_closes_is_what_the_client_hears() {
    let one = Mailer::odd("one", &[("stop", "552-5.3.4 it is\r\n552 5.3.4 too long")]);
    let (_proxy, port, log) = start("", &format!("server s 127.0.0.1:{}", one.port));
    let mut client = begun(port);
    assert_eq!(client.ask("DATA"), "354 go on");
    let long = "0123456789\r\n".repeat(100_000);
    let said = client.ask(&format!("stop\r\n{long}."));
    assert_eq!(said, "552-5.3.4 it is\n552 5.3.4 too long");
    assert!(log.line("one/s").contains(" 552 "));
    // Another message goes to the same server anew.
    client.ask("MAIL FROM:<a@b.example>");
    let said = client.ask("RCPT TO:<x@one.example>");
    assert!(said.starts_with("250 2.1.5"), "{said}");
    assert_eq!(deliver(&mut client), "250 2.0.0 one has it");
}

#[test]
fn an_answer_of_a_kind_that_a_command_cannot_have_is_no_success() {
    for (answers, heard) in [
        (&[("MAIL", "354 go on")], ["451 4.4.2", "554 5.5.1"]),
        (&[("RCPT", "354 go on")], ["451 4.4.2", "554 5.5.1"]),
        (&[("DATA", "250 delivered")], ["250 2.1.5", "451 4.4.2"]),
        (&[("DATA", "350 go on")], ["250 2.1.5", "451 4.4.2"]),
    ] {
        let one = Mailer::odd("one", answers);
        let (_proxy, port, _log) = start("", &format!("server s 127.0.0.1:{}", one.port));
        let mut client = client(port);
        client.ask("MAIL FROM:<a@b.example>");
        let said = ["RCPT TO:<x@one.example>", "DATA"].map(|line| client.ask(line));
        for (said, heard) in said.iter().zip(heard) {
            assert!(said.starts_with(heard), "{answers:?}: {said}");
        }
        assert_eq!(one.messages(), Vec::<String>::new());
        assert_eq!(client.ask("NOOP"), "250 2.0.0 ok");
    }
    let folder = Folder::new();
    let (pem, _) = certificate(&folder);
    let one = Mailer::odd(
        "one",
        &[
            ("EHLO", "250-one\r\n250 AUTH PLAIN LOGIN"),
            ("AUTH", "335 go on"),
        ],
    );
    let front = format!("starttls crt {pem}\n  smtp-auth PLAIN LOGIN");
    let (_proxy, port, _log) = start(&front, &format!("server s 127.0.0.1:{}", one.port));
    let mut client = client(port);
    assert_eq!(client.ask("STARTTLS"), "220 2.0.0 ready for TLS");
    let mut client = client.encrypt();
    client.ask("EHLO c.example");
    let said = client.ask("AUTH LOGIN");
    assert!(said.starts_with("454 4.7.0"), "{said}");
    assert!(client.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
}

#[test]
fn what_a_web_page_has_a_browser_send_is_not_read_to_its_commands() {
    let one = Mailer::start("one");
    let (_proxy, port, log) = start("", &format!("server s 127.0.0.1:{}", one.port));
    let mut client = Talker::connect(port);
    client.hear();
    client.send(
        "POST / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.example>\r\n\
         RCPT TO:<x@one.example>\r\nDATA\r\nforged\r\n.\r\n",
    );
    assert!(client.hear().starts_with("521 5.5.1"));
    assert!(client.closed());
    log.line(" PR ");
    assert_eq!(one.messages(), Vec::<String>::new());
}

#[test]
fn a_message_may_be_as_long_as_is_announced_and_holds_no_nul() {
    let one = Mailer::start("one");
    let front = "\n  smtp-size 16\n  smtp-extensions SIZE DSN";
    let (_proxy, port, _log) = start(front, &format!("server s 127.0.0.1:{}", one.port));
    let mut client = client(port);
    for (text, heard) in [
        // Dots that keep lines from being the end count as little as the end.
        ("..23456\r\n..23456\r\n.", "250 2.0.0 one has it"),
        ("..23456\r\n..234567\r\n.", "552 5.3.4"),
        ("123456789\r\n123\r\n.", "250 2.0.0 one has it"),
    ] {
        let said = client.ask("MAIL FROM:<a@b.example> SIZE=16");
        assert_eq!(said, "250 2.1.0 ok");
        client.ask("RCPT TO:<x@one.example>");
        client.ask("DATA");
        let said = client.ask(text);
        assert!(said.starts_with(heard), "{text:?}: {said}");
    }
    // Beyond ASCII is what only SMTPUTF8 allows, in parameters as in addresses.
    client.ask("MAIL FROM:<a@b.example>");
    let said = client.ask("RCPT TO:<x@one.example> ORCPT=utf-8;\u{e4}@b.example");
    assert!(said.starts_with("553 5.6.7"), "{said}");
    client.ask("RCPT TO:<x@one.example>");
    client.ask("DATA");
    client.send("text\r\n.\0\r\nMAIL FROM:<admin@one.example>\r\n");
    assert!(client.hear().starts_with("521 5.5.2"));
    assert!(client.closed());
    assert_eq!(one.messages().len(), 2);
}
