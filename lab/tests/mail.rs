//! Mails about servers. The mailer is a thread of the test.

use lab::{Folder, Proxy, each, port};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A mailer that takes every mail; gives what it was told of each, commands and message.
fn mailer() -> (SocketAddr, Receiver<String>) {
    let listener = lab::listener();
    let addr = listener.local_addr().expect("an address");
    let (told, mails) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let told = told.clone();
            std::thread::spawn(move || converse(stream, &told));
        }
    });
    (addr, mails)
}

fn converse(stream: TcpStream, told: &Sender<String>) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .ok()?;
    let mut out = stream.try_clone().ok()?;
    out.write_all(b"220-hello\r\n220 there\r\n").ok()?;
    let (mut all, mut message) = (String::new(), false);
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        all.push_str(&line);
        all.push('\n');
        let answer: &[u8] = match line.as_str() {
            "." => {
                message = false;
                b"250 taken\r\n"
            }
            _ if message => continue,
            "DATA" => {
                message = true;
                b"354 go on\r\n"
            }
            "QUIT" => {
                out.write_all(b"221 bye\r\n").ok()?;
                return told.send(all).ok();
            }
            _ => b"250 well\r\n",
        };
        out.write_all(answer).ok()?;
    }
    None
}

fn config(mailer: SocketAddr, level: &str) -> String {
    let (web, absent) = (port(), port());
    format!(
        "mailers post\n    mailer one {mailer}\n    timeout mail 20s\ndefaults\n    mode http\n    \
         timeout client 5s\n    timeout server 5s\n    timeout connect 2s\n    email-alert mailers post\n    \
         email-alert from lb@here.test\n    email-alert to you@there.test\n    email-alert myhostname lb.test\n{level}\
         listen app\n    bind 127.0.0.1:{web}\n    server s 127.0.0.1:{absent} check inter 300ms fall 1\n    \
         server t 127.0.0.1:{absent}\n"
    )
}

#[test]
fn a_server_that_goes_down_is_told_by_mail() {
    each(|program| {
        let (addr, mails) = mailer();
        let _proxy = Proxy::start(program, &config(addr, ""));
        let mail = mails.recv_timeout(Duration::from_secs(20)).expect("a mail");
        let lines: Vec<&str> = mail.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "HELO lb.test",
                "MAIL FROM:<lb@here.test>",
                "RCPT TO:<you@there.test>",
                "DATA",
                "From: lb@here.test",
                "To: you@there.test"
            ],
            "{}",
            program.name
        );
        assert!(
            lines[6].starts_with("Date: ") && lines[6].ends_with(" +0000 (UTC)"),
            "{mail}"
        );
        let text = "Server app/s is DOWN, reason: Layer4 connection problem";
        assert!(
            lines[7].starts_with(&format!("Subject: [HAProxy Alert] {text}")),
            "{mail}"
        );
        assert!(lines[9].starts_with(text), "{mail}");
        assert_eq!(lines[lines.len() - 2..], [".", "QUIT"], "{mail}");
    });
}

#[test]
fn what_is_less_grave_is_told_where_it_is_asked_for_and_maintenance_never() {
    each(|program| {
        let (addr, mails) = mailer();
        let proxy = Proxy::start(program, &config(addr, "    email-alert level notice\n"));
        proxy.control("disable server app/t");
        proxy.control("enable server app/t");
        proxy.control("set server app/t state drain");
        let mut told: Vec<String> = (0..2)
            .map(|_| mails.recv_timeout(Duration::from_secs(20)).expect("a mail"))
            .map(|mail| mail.lines().nth(9).unwrap_or_default().to_string())
            .collect();
        told.sort();
        assert!(
            told[0].starts_with("Server app/s is DOWN"),
            "{} {told:?}",
            program.name
        );
        assert!(
            told[1].starts_with("Server app/t enters drain state"),
            "{} {told:?}",
            program.name
        );
    });
}

#[test]
fn mails_that_cannot_be_sent_are_said() {
    each(|program| {
        let folder = Folder::new();
        let times = " timeout client 1s\n timeout server 1s\n timeout connect 1s\n";
        for (lines, status, said) in [
            ("email-alert mailers post", 0, "email-alert"),
            (
                "email-alert mailers nobody\n email-alert from a@b\n email-alert to c@d",
                1,
                "nobody",
            ),
            ("email-alert level loud", 1, "level"),
            ("email-alert sms 5", 1, "sms"),
        ] {
            let text = format!(
                "mailers post\n mailer one 127.0.0.1:25\nlisten a\n bind 127.0.0.1:1\n{times} {lines}\n"
            );
            let file = folder.file("mail.cfg", text.as_bytes());
            let (got, text) = program.run(&["-c", "-f", &file]);
            assert_eq!(got, status, "{} {lines}: {text}", program.name);
            assert!(text.contains(said), "{} {lines}: {text}", program.name);
        }
    });
}
