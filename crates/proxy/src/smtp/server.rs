//! The conversation with a server.

use crate::overrides;
use crate::passage::Passage;
use crate::pool::ServerConn;
use crate::session::Client;
use crate::termination::Cause;
use crate::tls::TlsStream;
use crate::transport::{Transport, server_name};
use crate::worker::Worker;
use rules::StreamInfo;
use state::cut::Watch;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use wire::smtp::{Capabilities, Heard, Reply, hear};

/// A server that has taken our greeting.
pub struct Server {
    conn: ServerConn,
    /// What it has said beyond the last reply that was read.
    heard: Vec<u8>,
    /// What it announces.
    pub capabilities: Capabilities,
    /// Bytes of the messages it was given, and of the replies to them.
    pub moved: u64,
    /// `timeout server`: how long it may be silent.
    patience: Option<Duration>,
    /// Ends the conversation because the server went down, where its line asks for that.
    cut: Option<Watch>,
}

/// Why a server is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It closed, failed, or speaks no SMTP.
    Lost,
    /// It was silent for too long.
    TimedOut,
    /// It does not take us, or lacks what its line asks for.
    Refused,
    /// It went down, and its sessions are to end then.
    Cut,
    /// The client's connection failed meanwhile.
    ClientGone,
}

impl Broken {
    /// As the log names it.
    pub fn cause(self) -> Cause {
        match self {
            Broken::Lost | Broken::Refused => Cause::ServerAbort,
            Broken::Cut => Cause::ServerDown,
            Broken::TimedOut => Cause::ServerTimeout,
            Broken::ClientGone => Cause::ClientAbort,
        }
    }
}

impl Server {
    /// Greets a server on a new connection in the client's name, and tells it of the client where
    /// its line asks for that.
    pub async fn greet(
        conn: ServerConn,
        worker: &Worker,
        client: &mut Client,
        passage: &Passage,
    ) -> Result<Server, Broken> {
        let (Some(slot), Some(backend)) = (&passage.visit.slot, passage.backend()) else {
            return Err(Broken::Refused);
        };
        let settings = slot.server().settings();
        let info = &passage.info;
        let mut server = Server {
            conn,
            heard: Vec::new(),
            capabilities: Capabilities::default(),
            moved: 0,
            patience: overrides::timeouts(&backend.proxy().timeouts, info).server,
            cut: poll_fn(|cx| Poll::Ready(slot.watch_cuts(cx.waker()))).await,
        };
        if server.listen(worker, client).await?.code != 220 {
            return Err(Broken::Refused);
        }
        let name = info.smtp.as_ref().and_then(|s| s.helo.as_deref());
        let name = name.unwrap_or(b"localhost");
        server.hello(worker, client, name).await?;
        if let Some(tls) = settings.tls.as_ref().filter(|t| t.offered) {
            if !server.capabilities.start_tls {
                return Err(Broken::Refused);
            }
            let reply = server.ask(worker, client, b"STARTTLS").await?;
            // What was sent with that reply came in clear text, from anybody.
            if reply.code != 220 || !server.heard.is_empty() {
                return Err(Broken::Refused);
            }
            server.start_tls(worker, client, tls).await?;
            server.hello(worker, client, name).await?;
        }
        if settings.xclient {
            // A server that does not let us speak for others would take us for the client.
            let taken = server.capabilities.xclient.take().ok_or(Broken::Refused)?;
            let line = introduction(client, info, &taken);
            let reply = server.ask(worker, client, line.as_bytes()).await?;
            if reply.code != 220 {
                return Err(Broken::Refused);
            }
            server.hello(worker, client, name).await?;
        }
        Ok(server)
    }

    /// `EHLO`, or `HELO` where that is not understood.
    async fn hello(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        name: &[u8],
    ) -> Result<(), Broken> {
        self.capabilities = Capabilities::default();
        let long = [b"EHLO ", name].concat();
        let reply = self.ask(worker, client, &long).await?;
        if reply.is_good() {
            self.capabilities = reply.capabilities();
            return Ok(());
        }
        let short = [b"HELO ", name].concat();
        match self.ask(worker, client, &short).await?.is_good() {
            true => Ok(()),
            false => Err(Broken::Refused),
        }
    }

    async fn start_tls(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        tls: &model::ServerTls,
    ) -> Result<(), Broken> {
        let name = server_name(self.conn.name.as_deref(), &self.conn.target);
        let io = &mut self.conn.io;
        let begun = io.begin_tls(|io| TlsStream::connect(io, &tls.connector, &name));
        if !matches!(begun, Ok(Ok(()))) {
            return Err(Broken::Refused);
        }
        self.arm(worker, client);
        let io = &mut self.conn.io;
        poll_fn(|cx| {
            let Transport::Tls(tls) = io else {
                return Poll::Ready(Err(Broken::Lost));
            };
            match tls.poll_handshake(cx, &mut None) {
                Poll::Ready(made) => Poll::Ready(made.map_err(|_| Broken::Refused)),
                Poll::Pending => patience(self.cut.as_ref(), client, cx),
            }
        })
        .await
    }

    /// Sends a command that is all there is to say, and waits for its reply.
    pub async fn ask(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        command: &[u8],
    ) -> Result<Reply, Broken> {
        self.begin(worker, client, command, None).await
    }

    /// Sends a line after which the server may want more, if it says so by this code, and waits for its
    /// reply. Anything else than one reply to each would have the client hear what was said to
    /// something else.
    pub async fn begin(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        command: &[u8],
        more: Option<u16>,
    ) -> Result<Reply, Broken> {
        if !self.heard.is_empty() {
            return Err(Broken::Lost);
        }
        let line = [command, b"\r\n"].concat();
        self.send(worker, client, &line).await?;
        let reply = self.listen(worker, client).await?;
        // It would take the next command for what it waits for.
        match reply.asks_for_more() && more != Some(reply.code) {
            true => Err(Broken::Lost),
            false => Ok(reply),
        }
    }

    /// Sends bytes.
    pub async fn send(
        &mut self,
        worker: &Worker,
        client: &mut Client,
        bytes: &[u8],
    ) -> Result<(), Broken> {
        self.arm(worker, client);
        let mut rest = bytes;
        poll_fn(|cx| {
            while !rest.is_empty() {
                match self.conn.io.poll_write(cx, &[IoSlice::new(rest)]) {
                    Poll::Ready(Ok(n)) => rest = rest.get(n..).unwrap_or_default(),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Lost)),
                    Poll::Pending => return patience(self.cut.as_ref(), client, cx),
                }
            }
            match self.conn.io.poll_flush(cx) {
                Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| Broken::Lost)),
                Poll::Pending => patience(self.cut.as_ref(), client, cx),
            }
        })
        .await
    }

    /// Waits for a reply.
    pub async fn listen(&mut self, worker: &Worker, client: &mut Client) -> Result<Reply, Broken> {
        self.arm(worker, client);
        loop {
            match hear(&self.heard) {
                Heard::Reply(reply, length) => {
                    self.heard.drain(..length);
                    // It is about to close, whatever was asked (RFC 5321 section 3.8).
                    return match reply.code {
                        421 => Err(Broken::Lost),
                        _ => Ok(reply),
                    };
                }
                Heard::Malformed => return Err(Broken::Lost),
                Heard::More => {}
            }
            poll_fn(|cx| {
                let mut scratch = worker.scratch.borrow_mut();
                match self.conn.io.poll_read(cx, &mut scratch) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        self.heard
                            .extend_from_slice(scratch.get(..n).unwrap_or_default());
                        Poll::Ready(Ok(()))
                    }
                    Poll::Ready(_) => Poll::Ready(Err(Broken::Lost)),
                    Poll::Pending => patience(self.cut.as_ref(), client, cx),
                }
            })
            .await?;
        }
    }

    fn arm(&self, worker: &Worker, client: &mut Client) {
        client.timer.arm(self.patience.map(|t| worker.now() + t));
    }

    /// Whether its sessions are to end.
    pub fn is_cut(&self) -> bool {
        self.cut.as_ref().is_some_and(Watch::is_cut)
    }

    /// Whether it has said and done nothing since the last reply: it can be asked again.
    pub fn is_quiet(&self) -> bool {
        self.heard.is_empty() && self.conn.io.is_quiet()
    }

    /// Takes leave. In the middle of a message the connection just ends, which no server takes for
    /// the end of the message.
    pub fn bye(mut self, unfinished: bool) {
        if !unfinished {
            let mut cx = Context::from_waker(Waker::noop());
            let _ = self
                .conn
                .io
                .poll_write(&mut cx, &[IoSlice::new(b"QUIT\r\n")]);
        }
        self.conn.io.shutdown_write();
    }
}

/// What a server is told by `XCLIENT` of whom we speak for: what it takes of the address, the name
/// and the protocol. Values are written as RFC 3461 section 4 does.
fn introduction(client: &mut Client, info: &StreamInfo, taken: &[String]) -> String {
    let destination = info
        .overrides
        .given(|g| g.dst.get())
        .or_else(|| client.destination());
    let source = info.overrides.src(&client.info);
    let unknown = || "[UNAVAILABLE]".to_string();
    let address = |a: Option<SocketAddr>| {
        a.map_or_else(unknown, |a| match a.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("IPV6:{ip}"),
        })
    };
    let port = |a: Option<SocketAddr>| a.map_or_else(unknown, |a| a.port().to_string());
    let smtp = info.smtp.as_ref();
    let helo = smtp.and_then(|s| s.helo.as_deref()).unwrap_or_default();
    let protocol = match smtp.is_some_and(|s| s.extended) {
        true => "ESMTP",
        false => "SMTP",
    };
    let all = [
        ("NAME", unknown()),
        ("ADDR", address(source)),
        ("PORT", port(source)),
        ("HELO", encoded(helo)),
        ("PROTO", protocol.to_string()),
        ("DESTADDR", address(destination)),
        ("DESTPORT", port(destination)),
    ];
    let mut line = String::from("XCLIENT");
    for (name, value) in all {
        if taken.iter().any(|t| t == name) {
            line += &format!(" {name}={value}");
        }
    }
    line
}

/// `xtext`: what might end a value is written by its number.
fn encoded(value: &[u8]) -> String {
    let mut out = String::new();
    for byte in value {
        match byte {
            b'+' | b'=' | 0..=32 | 127.. => out += &format!("+{byte:02X}"),
            plain => out.push(char::from(*plain)),
        }
    }
    out
}

/// How waiting for a server ends when it says nothing.
fn patience<T>(
    cut: Option<&Watch>,
    client: &mut Client,
    cx: &mut Context<'_>,
) -> Poll<Result<T, Broken>> {
    if cut.is_some_and(Watch::is_cut) {
        return Poll::Ready(Err(Broken::Cut));
    }
    if client.poll_gone(cx, false) {
        return Poll::Ready(Err(Broken::ClientGone));
    }
    ready!(client.timer.poll_expired(cx));
    Poll::Ready(Err(Broken::TimedOut))
}
