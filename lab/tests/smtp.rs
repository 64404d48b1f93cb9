//! `mode smtp`: whom a message goes to chooses its server, and nothing reaches a server that was
//! not understood. HAProxy has no such mode: only mulgil is tried. The servers are scripted here;
//! `smtp_postfix.rs` has the real one.

#[path = "smtp/mailer.rs"]
#[allow(dead_code)] // one server is for the other scenarios
mod mailer;

use lab::{LogSink, Program, Proxy, port};
use mailer::{Mailer, Talker, certificate};

/// A proxy with this frontend, and backends `one` and `two` with these servers.
fn start(front: &str, one: &str, two: &str) -> (Proxy, u16, LogSink) {
    let (port, log) = (port(), LogSink::new());
    let config = format!(
        "defaults\n  mode smtp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n  \
         retries 1\n  option redispatch 1\n  log 127.0.0.1:{} local0\n  option smtplog\n\
         frontend mail\n  bind 127.0.0.1:{port} {front}\n  smtp-name mx.example\n  \
         use_backend two if {{ smtp.rcpt_domain two.example }}\n  default_backend one\n\
         backend one\n  {one}\nbackend two\n  {two}\n",
        log.port
    );
    (Proxy::start(&Program::mulgil(), &config), port, log)
}

fn two_mailers(front: &str) -> (Proxy, u16, LogSink, Mailer, Mailer) {
    let (one, two) = (Mailer::start("one"), Mailer::start("two"));
    let server = |m: &Mailer| format!("server s 127.0.0.1:{}", m.port);
    let (proxy, port, log) = start(front, &server(&one), &server(&two));
    (proxy, port, log, one, two)
}

#[test]
fn a_recipients_domain_chooses_the_server_and_the_log_says_so() {
    let (proxy, port, log, one, two) = two_mailers("");
    let mut client = Talker::connect(port);
    assert_eq!(client.hear(), "220 mx.example ESMTP");
    let hello = client.ask("EHLO client.example");
    assert_eq!(
        hello,
        "250-mx.example\n250-PIPELINING\n250-SIZE\n250-8BITMIME\n250 ENHANCEDSTATUSCODES"
    );
    assert_eq!(
        client.ask("MAIL FROM:<ann@a.example> SIZE=20"),
        "250 2.1.0 ok"
    );
    assert_eq!(client.ask("RCPT TO:<bob@TWO.example>"), "250 2.1.5 two");
    assert_eq!(
        client.ask("RCPT TO:<carl@one.example>"),
        "452 4.5.3 this recipient is served elsewhere: send another message"
    );
    assert_eq!(client.ask("DATA"), "354 go on");
    assert_eq!(
        client.ask("Subject: x\r\n\r\n..dot\r\n."),
        "250 2.0.0 two has it"
    );
    assert_eq!(client.ask("MAIL FROM:<>"), "250 2.1.0 ok");
    assert_eq!(client.ask("RCPT TO:<carl@one.example>"), "250 2.1.5 one");
    assert_eq!(client.ask("DATA"), "354 go on");
    assert_eq!(client.ask("."), "250 2.0.0 one has it");
    assert_eq!(client.ask("QUIT"), "221 2.0.0 bye");
    assert!(client.closed());
    assert_eq!(
        two.messages(),
        [
            "EHLO client.example|MAIL FROM:<ann@a.example> SIZE=20|RCPT TO:<bob@TWO.example>|DATA|Subject: x||..dot|."
        ]
    );
    assert_eq!(
        one.messages(),
        ["EHLO client.example|MAIL FROM:<>|RCPT TO:<carl@one.example>|DATA|."]
    );
    let line = log.line("two/s");
    let ends = "helo=client.example from=<ann@a.example> to=<bob@TWO.example> rcpts=1";
    assert!(line.ends_with(ends) && line.contains(" 250 "), "{line}");
    assert!(line.contains(" -- "), "{line}");
    let line = log.line("one/s");
    assert!(
        line.ends_with("from=<-> to=<carl@one.example> rcpts=1"),
        "{line}"
    );
    assert_eq!(proxy.stat("two", "BACKEND", "stot"), "1");
    assert_eq!(proxy.stat("mail", "FRONTEND", "req_tot"), "2");
    proxy.wait_for("one", "BACKEND", "scur", "0");
}

#[test]
fn senders_and_names_of_clients_choose_the_server_too() {
    let front = "\n  use_backend two if { smtp.helo -i partner.example }\n  \
                 use_backend two if { smtp.from_domain lists.example }";
    let (_proxy, port, _log, one, two) = two_mailers(front);
    let mut client = Talker::connect(port);
    client.hear();
    for (helo, from, wanted) in [
        ("c.example", "a@b.example", "one"),
        ("PARTNER.example", "a@b.example", "two"),
        ("c.example", "a@Lists.example", "two"),
        ("c.example", "a@b.example", "one"),
    ] {
        client.ask(&format!("EHLO {helo}"));
        client.ask(&format!("MAIL FROM:<{from}>"));
        let said = client.ask("RCPT TO:<x@c.example>");
        assert_eq!(said, format!("250 2.1.5 {wanted}"), "{helo} {from}");
        client.ask("DATA");
        client.ask("text\r\n.");
    }
    assert_eq!((one.messages().len(), two.messages().len()), (2, 2));
}

#[test]
fn commands_may_come_all_at_once_and_are_answered_in_order() {
    let (_proxy, port, _log, one, _two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.send(
        "EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@one.example>\r\nRCPT TO:<no@one.example>\r\n\
         DATA\r\n",
    );
    for wanted in [
        "220 ",
        "250-",
        "250 2.1.0",
        "250 2.1.5",
        "550 5.1.1",
        "354 ",
    ] {
        let heard = client.hear();
        assert!(heard.starts_with(wanted), "{heard:?} is not {wanted:?}");
    }
    // And what follows the message may come with it.
    client.send("text\r\n.\r\nNOOP\r\nRSET\r\nVRFY x\r\nHELP\r\nQUIT\r\n");
    for wanted in [
        "250 2.0.0 one has it",
        "250 2.0.0",
        "250 2.0.0",
        "252 ",
        "214 ",
        "221 ",
    ] {
        let heard = client.hear();
        assert!(heard.starts_with(wanted), "{heard:?} is not {wanted:?}");
    }
    assert!(client.closed());
    assert_eq!(one.messages().len(), 1);
}

#[test]
fn commands_out_of_order_or_unknown_are_refused_and_counted() {
    let (_proxy, port, _log, one, _two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    let mut ask = |command: &str, wanted: &str| {
        let heard = client.ask(command);
        assert!(heard.starts_with(wanted), "{command}: {heard:?}");
    };
    ask("MAIL FROM:<a@b.example>", "503 5.5.1 say EHLO first");
    ask("HELO c.example", "250 mx.example");
    ask("RCPT TO:<a@b.example>", "503 5.5.1 say MAIL first");
    ask("DATA", "503 5.5.1");
    ask("MAIL FROM:<a@b.example> SIZE=1", "555 5.5.4");
    ask("EHLO c.example", "250-");
    ask("MAIL FROM:<a@b.example> SMTPUTF8", "555 5.5.4");
    ask("MAIL FROM:<\u{e4}@b.example>", "553 5.6.7");
    ask("MAIL FROM:<a@b.example", "501 5.1.7");
    ask("MAIL FROM:<a@b.example>", "250 ");
    ask("MAIL FROM:<a@b.example>", "503 5.5.1");
    ask("DATA", "503 5.5.1 say RCPT first");
    ask("RCPT TO:<no@one.example>", "550 5.1.1");
    ask("DATA", "554 5.5.1 no valid recipients");
    ask("XCLIENT ADDR=192.0.2.1", "502 5.5.1");
    ask("AUTH LOGIN", "502 5.5.1");
    ask("BDAT 4 LAST", "502 5.5.1");
    ask("STARTTLS", "503 5.5.1");
    ask("GETS", "500 5.5.2");
    ask("EHLO", "501 5.5.4");
    // The twentieth is one too many.
    client.send(&"WHAT\r\n".repeat(20));
    let mut last = String::new();
    loop {
        let heard = client.hear();
        if heard.is_empty() {
            break;
        }
        last = heard;
    }
    assert_eq!(last, "421 4.7.0 too many errors");
    assert_eq!(one.messages().len(), 0);
}

#[test]
fn no_message_is_smuggled_past_us() {
    for end in [
        "\n.\r\n", "\n.\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r.",
    ] {
        let (_proxy, port, log, one, _two) = two_mailers("");
        let mut client = Talker::connect(port);
        client.hear();
        client.ask("EHLO c.example");
        client.ask("MAIL FROM:<a@b.example>");
        client.ask("RCPT TO:<x@one.example>");
        client.ask("DATA");
        client.send(&format!(
            "text{end}MAIL FROM:<admin@one.example>\r\nRCPT TO:<y@one.example>\r\nDATA\r\nforged\r\n.\r\n"
        ));
        assert!(client.hear().starts_with("521 5.5.2"), "{end:?}");
        assert!(client.closed(), "{end:?}");
        let line = log.line("one/s");
        assert!(line.contains(" 521 ") && line.contains(" PR "), "{line}");
        assert_eq!(one.messages(), Vec::<String>::new(), "{end:?}");
    }
    // A command line may hold no second one either.
    for line in ["RSET\n", "NOOP\rQUIT\r\n", "NOOP \0\r\n"] {
        let (_proxy, port, _log, _one, _two) = two_mailers("");
        let mut client = Talker::connect(port);
        client.hear();
        client.send(line);
        assert!(client.hear().starts_with("521 5.5.2"), "{line:?}");
        assert!(client.closed());
    }
    let (_proxy, port, _log, _one, _two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    client.send(&"x".repeat(5000));
    assert!(client.hear().starts_with("500 5.5.2 line too long"));
    assert!(client.closed());
}

#[test]
fn lines_are_normalized_where_that_is_asked_for() {
    let (_proxy, port, _log, one, _two) = two_mailers("\n  smtp-bare-newline normalize");
    let mut client = Talker::connect(port);
    client.hear();
    client.send("EHLO c.example\nMAIL FROM:<a@b.example>\nRCPT TO:<x@one.example>\nDATA\n");
    for _ in 0..4 {
        client.hear();
    }
    client.send("one\n.\ntwo\r.\r\nthree\n.\r\nRSET\r\n.\r\n");
    assert_eq!(client.hear(), "250 2.0.0 one has it");
    let messages = one.messages();
    assert!(
        messages[0].ends_with("DATA|one|..|two .|three|..|RSET|."),
        "{messages:?}"
    );
}

#[test]
fn messages_that_are_too_long_are_refused_when_said_and_when_sent() {
    let (_proxy, port, log, one, _two) = two_mailers("\n  smtp-size 1k");
    let mut client = Talker::connect(port);
    client.hear();
    assert!(client.ask("EHLO c.example").contains("250-SIZE 1024"));
    let said = client.ask("MAIL FROM:<a@b.example> SIZE=1025");
    assert!(said.starts_with("552 5.3.4"), "{said}");
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@one.example>");
    client.ask("DATA");
    let long = "0123456789\r\n".repeat(200);
    let said = client.ask(&format!("{long}."));
    assert!(said.starts_with("552 5.3.4"), "{said}");
    assert!(log.line("one/s").contains(" 552 "));
    // The conversation goes on.
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@one.example>");
    client.ask("DATA");
    assert_eq!(client.ask("short\r\n."), "250 2.0.0 one has it");
    assert_eq!(one.messages().len(), 1);
}

#[test]
fn rules_refuse_in_words_and_count_messages_and_recipients() {
    let rules = "\n  stick-table type ip size 1k expire 1m store http_req_cnt,gpc0,http_err_cnt\n  \
        tcp-request connection track-sc0 src\n  \
        smtp-request sc-inc-gpc0(0) if { smtp.command RCPT }\n  \
        smtp-request reject if { smtp.from_domain evil.example }\n  \
        smtp-request deny status 550 if { smtp.helo -m beg bad. }\n  \
        smtp-request deny status 450 string '4.7.1 three messages are enough' if { smtp.command MAIL } { sc0_http_req_cnt gt 3 }\n  \
        smtp-request deny status 452 lf-string \"4.5.3 %[sc0_get_gpc0] recipients\" if { sc0_get_gpc0 gt 3 }\n  \
        smtp-request accept if { smtp.size gt 5 }";
    let (proxy, port, log, one, _two) = two_mailers(rules);
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO bad.example");
    assert_eq!(
        client.ask("MAIL FROM:<a@b.example>"),
        "550 5.7.1 refused by a rule"
    );
    assert!(log.line("helo=bad.example").contains(" 550 "));
    client.ask("EHLO c.example");
    for n in 1..=2 {
        assert_eq!(client.ask("MAIL FROM:<a@b.example>"), "250 2.1.0 ok", "{n}");
        assert_eq!(
            client.ask("RCPT TO:<x@one.example>"),
            "250 2.1.5 one",
            "{n}"
        );
        client.ask("DATA");
        client.ask("text\r\n.");
    }
    assert_eq!(
        client.ask("MAIL FROM:<a@b.example>"),
        "450 4.7.1 three messages are enough"
    );
    let table = proxy.control("show table mail");
    assert!(
        table.contains("gpc0=2") && table.contains("http_req_cnt=4"),
        "{table}"
    );
    assert!(table.contains("http_err_cnt=2"), "{table}");
    drop(client);
    proxy.wait_for("mail", "FRONTEND", "scur", "0");
    proxy.control("clear table mail");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    for _ in 0..3 {
        client.ask("RCPT TO:<x@one.example>");
    }
    assert_eq!(
        client.ask("RCPT TO:<x@one.example>"),
        "452 4.5.3 4 recipients"
    );
    client.ask("RSET");
    assert_eq!(
        client.ask("MAIL FROM:<a@Evil.example>"),
        "421 4.7.1 refused by a rule"
    );
    assert!(client.closed());
    assert_eq!(one.messages().len(), 2);
    assert_eq!(proxy.stat("mail", "FRONTEND", "dreq"), "4");
}

#[test]
fn a_server_that_is_lost_costs_a_try_and_no_message() {
    let (proxy, port, log, one, two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@one.example>");
    one.hang_up();
    let said = client.ask("RCPT TO:<y@one.example>");
    assert_eq!(said, "451 4.4.2 the server is lost: try again later");
    assert_eq!(
        client.ask("DATA"),
        said,
        "every recipient is to be tried again"
    );
    client.ask("RSET");
    let line = log.line("one/s");
    assert!(line.contains(" 451 ") && line.contains(" SD "), "{line}");
    // The next message finds the server again.
    client.ask("MAIL FROM:<a@b.example>");
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
    client.ask("DATA");
    client.send("half of it\r\n");
    one.wait_for("half of it");
    one.hang_up();
    let said = client.ask("the rest\r\n.");
    assert!(said.starts_with("451 4.4.2"), "{said}");
    // Between messages nobody notices.
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@two.example>");
    client.ask("DATA");
    assert_eq!(client.ask("."), "250 2.0.0 two has it");
    two.hang_up();
    client.ask("MAIL FROM:<a@b.example>");
    assert_eq!(client.ask("RCPT TO:<x@two.example>"), "250 2.1.5 two");
    drop(client);
    assert!(log.line("two/s").contains(" -- "));
    assert!(log.line("two/s").contains(" CR "));
    proxy.wait_for("two", "s", "scur", "0");
}

#[test]
fn without_a_server_the_client_is_told_to_try_again() {
    let (refusing, hostile) = (lab::refusing(), Mailer::refusing("554 5.3.2 not today"));
    let one = format!("server s 127.0.0.1:{refusing}");
    let two = format!("server s 127.0.0.1:{}", hostile.port);
    let (proxy, port, log) = start("", &one, &two);
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    let none = "451 4.4.1 no server can take this message now: try again later";
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), none);
    assert!(client.ask("DATA").starts_with("554 5.5.1"));
    client.ask("RSET");
    let line = log.line("one/");
    assert!(line.contains(" 451 ") && line.contains(" SC "), "{line}");
    // A server that greets us with a refusal is as good as none.
    client.ask("MAIL FROM:<a@b.example>");
    assert_eq!(client.ask("RCPT TO:<x@two.example>"), none);
    client.ask("QUIT");
    assert_eq!(proxy.stat("two", "s", "eresp"), "2");
}

#[test]
fn another_server_takes_over_when_the_first_one_refuses_to_greet() {
    let (hostile, good) = (
        Mailer::refusing("421 4.3.2 shutting down"),
        Mailer::start("good"),
    );
    let one = format!(
        "balance first\n  server bad 127.0.0.1:{}\n  server good 127.0.0.1:{}",
        hostile.port, good.port
    );
    let (_proxy, port, log) = start("", &one, "server s 127.0.0.1:1");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 good");
    client.ask("QUIT");
    log.line("one/good");
}

#[test]
fn clients_may_encrypt_and_what_they_sent_before_is_forgotten() {
    let folder = lab::Folder::new();
    let (pem, _) = certificate(&folder);
    let front = format!("starttls crt {pem}\n  smtp-require-tls");
    let (_proxy, port, _log, one, _two) = two_mailers(&front);
    let mut client = Talker::connect(port);
    client.hear();
    assert!(client.ask("EHLO c.example").ends_with("250 STARTTLS"));
    assert!(
        client
            .ask("MAIL FROM:<a@b.example>")
            .starts_with("530 5.7.0")
    );
    // What comes in clear text behind the command is thrown away (CVE-2011-0411).
    client.send("STARTTLS\r\nEHLO injected.example\r\n");
    assert_eq!(client.hear(), "220 2.0.0 ready for TLS");
    let mut client = client.encrypt();
    assert_eq!(
        client.ask("MAIL FROM:<a@b.example>"),
        "503 5.5.1 say EHLO first"
    );
    let hello = client.ask("EHLO c.example");
    assert!(
        !hello.contains("STARTTLS") && hello.ends_with("ENHANCEDSTATUSCODES"),
        "{hello}"
    );
    assert!(client.ask("STARTTLS").starts_with("503 5.5.1"));
    assert_eq!(client.ask("MAIL FROM:<a@b.example>"), "250 2.1.0 ok");
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
    assert_eq!(client.ask("DATA"), "354 go on");
    assert_eq!(client.ask("secret\r\n."), "250 2.0.0 one has it");
    assert_eq!(client.ask("QUIT"), "221 2.0.0 bye");
    assert!(one.messages()[0].ends_with("secret|."));
}

#[test]
fn tls_may_begin_at_once() {
    let folder = lab::Folder::new();
    let front = format!("ssl crt {}", certificate(&folder).0);
    let (_proxy, port, _log, one, _two) = two_mailers(&front);
    let mut client = Talker::connect(port).encrypt();
    assert_eq!(client.hear(), "220 mx.example ESMTP");
    assert!(!client.ask("EHLO c.example").contains("STARTTLS"));
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@one.example>");
    client.ask("DATA");
    assert_eq!(client.ask("secret\r\n."), "250 2.0.0 one has it");
    assert_eq!(one.messages().len(), 1);
}

#[test]
fn a_silent_client_is_sent_away_and_a_silent_server_given_up() {
    let silent = Mailer::silent();
    let one = format!("timeout server 200ms\n  server s 127.0.0.1:{}", silent.port);
    let front = "\n  timeout client 1s";
    let (_proxy, port, log) = start(front, &one, "server s 127.0.0.1:1");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    assert!(
        client
            .ask("RCPT TO:<x@one.example>")
            .starts_with("451 4.4.1")
    );
    assert_eq!(client.hear(), "421 4.4.2 timeout");
    assert!(client.closed());
    assert!(log.line("one/s").contains(" sC "));
}

#[test]
fn the_example_of_mail_does_what_it_says() {
    let file = format!("{}/../examples/own/mail.cfg", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).expect("the example");
    let (one, two) = (Mailer::believing("one"), Mailer::believing("two"));
    let (spare, partner) = (Mailer::believing("spare"), Mailer::proxied("partner"));
    let port = port();
    let places = [
        ("LISTEN-127.0.0.1:2525", port),
        ("ONE-127.0.0.1:2601", one.port),
        ("SPARE-127.0.0.1:2602", spare.port),
        ("TWO-127.0.0.1:2603", two.port),
        ("PARTNER-127.0.0.1:2604", partner.port),
    ];
    let text = places.iter().fold(text, |text, (variable, port)| {
        text.replace(&format!("${{{variable}}}"), &format!("127.0.0.1:{port}"))
    });
    let proxy = Proxy::start(&Program::mulgil(), &text);
    for backend in ["one", "two"] {
        proxy.wait_for(backend, "a", "status", "UP");
    }
    let mut client = Talker::connect(port);
    assert_eq!(client.hear(), "220 mx.example.org ESMTP");
    assert!(client.ask("EHLO mx.example.org").contains("SIZE 52428800"));
    let said = client.ask("MAIL FROM:<ann@a.example>");
    assert_eq!(said, "550 5.7.1 that name is ours");
    client.ask("EHLO client.example");
    for (from, to, wanted) in [
        ("a.example", "one.example", "250 2.1.5 one"),
        ("a.example", "two.example", "250 2.1.5 two"),
        ("partner.example", "one.example", "250 2.1.5 partner"),
        (
            "a.example",
            "three.example",
            "550 5.7.1 no such domain here",
        ),
    ] {
        client.ask(&format!("MAIL FROM:<ann@{from}>"));
        assert_eq!(client.ask(&format!("RCPT TO:<bob@{to}>")), wanted);
        if wanted.starts_with("250") {
            client.ask("DATA");
            assert!(client.ask("text\r\n.").starts_with("250"));
        }
        client.ask("RSET");
    }
    let told = one.messages().concat();
    assert!(
        told.contains("|XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1 PORT="),
        "{told}"
    );
    assert!(
        told.contains(" HELO=client.example PROTO=ESMTP|EHLO client.example|"),
        "{told}"
    );
    let told = partner.messages().concat();
    assert!(
        told.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "),
        "{told}"
    );
    let mut last = String::new();
    for _ in 0..60 {
        last = client.ask("MAIL FROM:<ann@a.example>");
        client.ask("RSET");
    }
    assert_eq!(last, "450 4.7.1 too many messages: try again in a minute");
}

#[test]
fn a_long_message_passes_whole_however_it_comes() {
    let (_proxy, port, _log, one, _two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    client.ask("RCPT TO:<x@one.example>");
    client.ask("DATA");
    let lines: Vec<String> = (0..60_000)
        .map(|n| match n % 3 {
            0 => format!("line {n} {}", "x".repeat(n % 90)),
            1 => String::new(),
            _ => format!("..{n}"),
        })
        .collect();
    let text = lines.join("\r\n");
    let mut rest = text.as_str();
    let mut size = 1;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        client.send(piece);
        rest = after;
        // Pieces of all sizes, so that they are cut everywhere.
        size = (size * 3 + 1) % 70_001 + 1;
    }
    assert_eq!(client.ask("\r\n."), "250 2.0.0 one has it");
    let messages = one.messages();
    let content = messages[0].split_once("|DATA|").expect("a message").1;
    assert!(content == format!("{}|.", lines.join("|")));
}

#[test]
fn a_place_on_a_server_is_waited_for_and_given_back() {
    let one = Mailer::start("one");
    let line = format!(
        "timeout queue 300ms\n  server s 127.0.0.1:{} maxconn 1",
        one.port
    );
    let (proxy, port, _log) = start("", &line, "server s 127.0.0.1:1");
    let begin = || {
        let mut client = Talker::connect(port);
        client.hear();
        client.ask("EHLO c.example");
        client.ask("MAIL FROM:<a@b.example>");
        client
    };
    let (mut first, mut second) = (begin(), begin());
    assert_eq!(first.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
    assert!(
        second
            .ask("RCPT TO:<x@one.example>")
            .starts_with("451 4.4.1")
    );
    second.ask("RSET");
    second.ask("MAIL FROM:<a@b.example>");
    second.send("RCPT TO:<x@one.example>\r\n");
    first.ask("QUIT");
    let said = second.hear();
    // It may have waited for too long already when the place became free.
    assert!(
        said == "250 2.1.5 one" || said.starts_with("451 4.4.1"),
        "{said}"
    );
    drop((first, second));
    proxy.wait_for("one", "s", "scur", "0");
    proxy.wait_for("one", "BACKEND", "scur", "0");
}

#[test]
fn a_reload_leaves_messages_under_way_alone() {
    let (proxy, port, _log, one, two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    client.ask("MAIL FROM:<a@b.example>");
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
    let text = std::fs::read_to_string(&proxy.file).expect("the file");
    let swapped = text.replace("default_backend one", "default_backend two");
    std::fs::write(&proxy.file, swapped).expect("a file");
    proxy.signal("-HUP");
    proxy.wait_for_output("is in force");
    assert_eq!(client.ask("DATA"), "354 go on");
    assert_eq!(client.ask("."), "250 2.0.0 one has it");
    let mut other = Talker::connect(port);
    other.hear();
    other.ask("EHLO c.example");
    other.ask("MAIL FROM:<a@b.example>");
    assert_eq!(other.ask("RCPT TO:<x@one.example>"), "250 2.1.5 two");
    other.ask("QUIT");
    assert_eq!((one.messages().len(), two.messages().len()), (1, 0));
}

#[test]
fn extensions_that_are_announced_pass_and_a_server_that_does_not_believe_us_is_not_used() {
    let (one, two) = (Mailer::start("one"), Mailer::believing("two"));
    let (proxy, port, _log) = start(
        "\n  smtp-extensions DSN SMTPUTF8",
        &format!("server s 127.0.0.1:{} xclient", one.port),
        &format!("server s 127.0.0.1:{} xclient", two.port),
    );
    let mut client = Talker::connect(port);
    client.hear();
    let hello = client.ask("EHLO c=+.example");
    assert!(hello.ends_with("250-DSN\n250 SMTPUTF8"), "{hello}");
    let said = client.ask("MAIL FROM:<a@b.example> SIZE=1");
    assert_eq!(said, "555 5.5.4 parameter SIZE not offered here");
    client.ask("MAIL FROM:<\u{e4}@b.example> SMTPUTF8 RET=HDRS ENVID=x=y");
    let said = client.ask("RCPT TO:<\u{fc}@two.example> NOTIFY=NEVER");
    assert_eq!(said, "250 2.1.5 two");
    client.ask("DATA");
    client.ask(".");
    let told = two.messages().concat();
    // What might end a value of XCLIENT is written by its number.
    assert!(
        told.contains(" HELO=c+3D+2B.example PROTO=ESMTP|"),
        "{told}"
    );
    let envelope = "|MAIL FROM:<\u{e4}@b.example> SMTPUTF8 RET=HDRS ENVID=x=y|RCPT TO:<\u{fc}@two.example> NOTIFY=NEVER|";
    assert!(told.contains(envelope), "{told}");
    client.ask("MAIL FROM:<a@b.example>");
    assert!(
        client
            .ask("RCPT TO:<x@one.example>")
            .starts_with("451 4.4.1")
    );
    assert_eq!(proxy.stat("one", "s", "eresp"), "2");
    assert!(one.messages().is_empty());
}

#[test]
fn a_client_that_leaves_within_a_message_leaves_none_behind() {
    let (proxy, port, log, one, _two) = two_mailers("");
    let mut client = Talker::connect(port);
    client.hear();
    client.send("EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<x@one.example>\r\nDATA\r\n");
    for _ in 0..4 {
        client.hear();
    }
    client.send("half\r\n.");
    one.wait_for("half");
    drop(client);
    let line = log.line("one/s");
    assert!(line.contains(" CD "), "{line}");
    proxy.wait_for("one", "s", "scur", "0");
    assert!(one.messages().is_empty());
    assert_eq!(proxy.stat("one", "s", "cli_abrt"), "1");
}

#[test]
fn a_recipient_that_leads_nowhere_harms_no_other_and_no_later_message() {
    let (port, one) = (port(), Mailer::start("one"));
    let config = format!(
        "defaults\n  mode smtp\n  timeout client 5s\n  timeout server 5s\n  timeout connect 2s\n\
         frontend mail\n  bind 127.0.0.1:{port}\n  use_backend one if {{ smtp.rcpt_domain one.example }}\n\
         backend one\n  server s 127.0.0.1:{}\n",
        one.port
    );
    let _proxy = Proxy::start(&Program::mulgil(), &config);
    let mut client = Talker::connect(port);
    client.hear();
    client.ask("EHLO c.example");
    for message in 1..=2 {
        assert!(client.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
        assert!(
            client
                .ask("RCPT TO:<x@nowhere.example>")
                .starts_with("451 ")
        );
        assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
        assert!(
            client
                .ask("RCPT TO:<y@nowhere.example>")
                .starts_with("451 ")
        );
        assert_eq!(client.ask("DATA"), "354 go on");
        assert_eq!(client.ask("Subject: x\r\n\r\n."), "250 2.0.0 one has it");
        assert_eq!(one.messages().len(), message);
    }
    // One that has nobody to go to leaves nothing open behind it.
    assert!(client.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
    assert!(
        client
            .ask("RCPT TO:<x@nowhere.example>")
            .starts_with("451 ")
    );
    assert!(client.ask("DATA").starts_with('5'));
    assert!(client.ask("RSET").starts_with("250 "));
    assert!(client.ask("MAIL FROM:<a@b.example>").starts_with("250 "));
    assert_eq!(client.ask("RCPT TO:<x@one.example>"), "250 2.1.5 one");
}
