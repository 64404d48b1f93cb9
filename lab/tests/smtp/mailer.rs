//! Both ends of a conversation of SMTP: a scripted server, and a client that says what it is told.

use lab::{Folder, PATIENCE, openssl};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a server has lived through.
#[derive(Default)]
struct Seen {
    /// Of each message that it took all lines since the one before, joined by bars.
    messages: Vec<String>,
    /// Every line.
    lines: Vec<String>,
    open: Vec<TcpStream>,
}

/// A server of SMTP that takes every message, but no recipient whose name begins with `no`.
pub struct Mailer {
    /// Where it listens.
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Mailer {
    /// One that says its name in its replies.
    pub fn start(name: &'static str) -> Mailer {
        Mailer::with(move |stream, seen| {
            let _ = converse(name, "", &[], stream, seen);
            let mut seen = seen.lock().expect("unpoisoned");
            seen.lines.push("(gone)".into());
        })
    }

    /// One that believes what it is told by `XCLIENT`.
    pub fn believing(name: &'static str) -> Mailer {
        Mailer::with(move |stream, seen| {
            let _ = converse(name, "XCLIENT NAME ADDR PORT PROTO HELO", &[], stream, seen);
        })
    }

    /// One that has clients log in, as `ann` with the password `secret`.
    pub fn guarded(name: &'static str) -> Mailer {
        Mailer::with(move |stream, seen| {
            let _ = converse(name, "AUTH PLAIN LOGIN", &[], stream, seen);
        })
    }

    /// One whose clients begin with a PROXY line.
    pub fn proxied(name: &'static str) -> Mailer {
        Mailer::with(move |mut stream, seen| {
            let (mut line, mut byte) = (Vec::new(), [0]);
            while !line.ends_with(b"\n") && stream.read_exact(&mut byte).is_ok() {
                line.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            seen.lock().expect("unpoisoned").messages.push(line);
            let _ = converse(name, "", &[], stream, seen);
        })
    }

    /// One that answers lines that begin in this way in that way. Where that is within a message, it
    /// closes then, with what it has not read.
    pub fn odd(name: &'static str, answers: &'static [(&'static str, &'static str)]) -> Mailer {
        Mailer::with(move |stream, seen| {
            let _ = converse(name, "", answers, stream, seen);
        })
    }

    /// One that says this and closes.
    pub fn refusing(greeting: &'static str) -> Mailer {
        Mailer::with(move |mut stream, _| {
            let _ = write!(stream, "{greeting}\r\n");
        })
    }

    /// One that takes connections and says nothing.
    pub fn silent() -> Mailer {
        Mailer::with(|mut stream, _| {
            let _ = stream.read_to_end(&mut Vec::new());
        })
    }

    fn with(serve: impl Fn(TcpStream, &Mutex<Seen>) + Send + Sync + 'static) -> Mailer {
        let listener = lab::listener();
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (kept, serve) = (Arc::clone(&seen), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, serve) = (Arc::clone(&kept), Arc::clone(&serve));
                let open = stream.try_clone().expect("a descriptor");
                kept.lock().expect("unpoisoned").open.push(open);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Mailer { port, seen }
    }

    /// The messages that it took.
    pub fn messages(&self) -> Vec<String> {
        self.seen.lock().expect("unpoisoned").messages.clone()
    }

    /// Waits until it was told this line.
    pub fn wait_for(&self, line: &str) {
        self.wait_for_many(line, 1);
    }

    /// Waits until it was told this line so often; `(gone)` is the end of a connection.
    pub fn wait_for_many(&self, line: &str, count: usize) {
        let end = Instant::now() + PATIENCE;
        let told = || {
            let seen = self.seen.lock().expect("unpoisoned");
            seen.lines.iter().filter(|l| *l == line).count()
        };
        while told() < count {
            assert!(Instant::now() < end, "nobody says '{line}'");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends all its connections.
    pub fn hang_up(&self) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        for stream in seen.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn converse(
    name: &str,
    more: &str,
    odd: &[(&str, &str)],
    stream: TcpStream,
    seen: &Mutex<Seen>,
) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    write!(out, "220 {name} ESMTP\r\n").ok()?;
    let (mut said, mut content) = (Vec::new(), false);
    // What the client is asked for next, while it logs in.
    let mut asked = "";
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        said.push(line.clone());
        let mut seen = seen.lock().expect("unpoisoned");
        seen.lines.push(line.clone());
        if let Some((_, reply)) = odd.iter().find(|(begin, _)| line.starts_with(begin)) {
            write!(out, "{reply}\r\n").ok()?;
            if content {
                return out.shutdown(Shutdown::Both).ok();
            }
            continue;
        }
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        let reply = match verb.as_str() {
            "." if content => {
                content = false;
                seen.messages.push(std::mem::take(&mut said).join("|"));
                format!("250 2.0.0 {name} has it")
            }
            _ if content => continue,
            _ if asked == "name" && line == "YW5u" => {
                asked = "password";
                "334 UGFzc3dvcmQ6".into()
            }
            _ if !asked.is_empty() => {
                let good = asked == "password" && line == "c2VjcmV0";
                asked = "";
                match good {
                    true => format!("235 2.7.0 {name} knows you"),
                    false => "535 5.7.8 who are you?".into(),
                }
            }
            "AUTH" if line == "AUTH PLAIN AGFubgBzZWNyZXQ=" => {
                format!("235 2.7.0 {name} knows you")
            }
            "AUTH" if line == "AUTH LOGIN" => {
                asked = "name";
                "334 VXNlcm5hbWU6".into()
            }
            "AUTH" => "535 5.7.8 who are you?".into(),
            "EHLO" if more.is_empty() => {
                format!("250-{name}\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250 8BITMIME")
            }
            "EHLO" => format!("250-{name}\r\n250-{more}\r\n250 8BITMIME"),
            "XCLI" => format!("220 {name} ESMTP"),
            "RCPT" if line.contains("<no") => "550 5.1.1 no such user".into(),
            "RCPT" => format!("250 2.1.5 {name}"),
            "DATA" => {
                content = true;
                "354 go on".into()
            }
            "QUIT" => "221 2.0.0 bye".into(),
            _ => "250 2.1.0 ok".into(),
        };
        write!(out, "{reply}\r\n").ok()?;
    }
    None
}

/// The client's end.
pub struct Talker {
    input: Box<dyn BufRead + Send>,
    output: Box<dyn Write + Send>,
    stream: TcpStream,
    /// What encrypts, where anything does.
    _tls: Option<Tls>,
}

struct Tls(Child);

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Talker {
    /// Connects to a port of the loopback.
    pub fn connect(port: u16) -> Talker {
        Talker::of(TcpStream::connect(("127.0.0.1", port)).expect("it listens"))
    }

    /// On a connection that is there already.
    pub fn of(stream: TcpStream) -> Talker {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let input = stream.try_clone().expect("a descriptor");
        let output = stream.try_clone().expect("a descriptor");
        Talker {
            input: Box::new(BufReader::new(input)),
            output: Box::new(output),
            stream,
            _tls: None,
        }
    }

    /// Has `openssl` speak TLS on the connection from here on.
    pub fn encrypt(self) -> Talker {
        let listener = lab::listener();
        let port = listener.local_addr().expect("an address").port();
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl is installed");
        let (inner, _) = listener.accept().expect("openssl connects");
        let (one, two) = (&self.stream, &inner);
        for (from, to) in [(one, two), (two, one)] {
            let mut from = from.try_clone().expect("a descriptor");
            let mut to = to.try_clone().expect("a descriptor");
            from.set_read_timeout(None).expect("no timeout");
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        Talker {
            input: Box::new(BufReader::new(child.stdout.take().expect("a pipe"))),
            output: Box::new(child.stdin.take().expect("a pipe")),
            stream: self.stream,
            _tls: Some(Tls(child)),
        }
    }

    /// Sends text as it is.
    pub fn send(&mut self, text: &str) {
        let _ = self.output.write_all(text.as_bytes());
        let _ = self.output.flush();
    }

    /// The next reply: its lines without their ends; empty when there is none.
    pub fn hear(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.input.read_line(&mut line) {
                Ok(n) if n > 0 => {}
                _ => return lines.join("\n"),
            }
            assert!(line.ends_with("\r\n"), "{line:?}");
            let last = line.as_bytes().get(3) != Some(&b'-');
            lines.push(line.trim_end().to_string());
            if last {
                return lines.join("\n");
            }
        }
    }

    /// Sends a line and hears the reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.hear()
    }

    /// Whether the peer has closed, with nothing more to say.
    pub fn closed(&mut self) -> bool {
        self.hear().is_empty()
    }
}

/// A certificate for the loopback with its key in one file, and its authority's in another.
pub fn certificate(folder: &Folder) -> (String, String) {
    let [ca, ca_key, request, cert, key] =
        ["ca.pem", "ca.key", "request", "cert", "key"].map(|name| folder.path(name));
    let extensions = folder.file(
        "extensions",
        b"subjectAltName=DNS:mx.example,IP:127.0.0.1\n",
    );
    let new = [
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let authority = ["-x509", "-days", "2", "-subj", "/CN=authority"];
    let made = ["-keyout", &ca_key, "-out", &ca];
    openssl(&[&["req"][..], &new, &authority, &made].concat());
    let asked = ["-subj", "/CN=mx.example", "-keyout", &key, "-out", &request];
    openssl(&[&["req", "-new"][..], &new, &asked].concat());
    let signed = ["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca];
    let made = [
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-extfile",
        &extensions,
    ];
    openssl(&[&signed[..], &made, &["-out", &cert]].concat());
    let both = [&cert, &key].map(|p| std::fs::read(p).expect("a file"));
    (folder.file("site.pem", &both.concat()), ca)
}
