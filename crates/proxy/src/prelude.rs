//! What comes before a session: the PROXY header, the TLS handshake, the session's rules.

use crate::moment::Span;
use crate::session::Client;
use crate::termination::Cause;
use crate::tls::{HandshakeError, TlsStream};
use crate::transport::Transport;
use crate::worker::Worker;
use crate::{account, listen, report};
use ::tls::Acceptor;
use rules::Ends;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use wire::{netscaler, proxy};

/// What a connection begins with, before TLS.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers {
    /// A PROXY header comes before everything else.
    pub proxy: bool,
    /// After that a header of a NetScaler's, which begins with this number.
    pub netscaler: Option<u32>,
}

/// Why a connection never became a session; the words are HAProxy's (manual, `fc_err_str`).
struct Failure {
    message: &'static str,
    /// The client left without a byte.
    empty: bool,
}

/// Takes a connection to the point where its session begins, within `timeout client`; whether it
/// got there. The handshake may have a time of its own (`timeout client-hs`).
pub async fn run(worker: &Worker, client: &mut Client, headers: Headers) -> bool {
    let patience = client.frontend.proxy().timeouts.client;
    let accepted = worker.instant(client.seat.accepted());
    client.timer.arm(patience.map(|t| accepted + t));
    let mut outcome = Ok(());
    if headers.proxy {
        outcome = proxy_header(worker, client).await;
    }
    if let (Ok(()), Some(magic)) = (&outcome, headers.netscaler) {
        outcome = netscaler_header(worker, client, magic).await;
    }
    if outcome.is_ok() && matches!(client.io, Transport::Tls(_)) {
        if let Some(patience) = client.frontend.proxy().timeouts.client_hs {
            client.timer.arm(Some(worker.now() + patience));
        }
        let made = handshake(worker, client).await;
        client.handshake = Span::new(accepted.elapsed());
        outcome = made.map_err(|error| Failure {
            message: error.message(),
            empty: error == HandshakeError::Empty,
        });
    }
    if let Err(failure) = outcome {
        client.info.fault = rules::faults::number(failure.message);
        report::unborn(worker, client, failure.message, failure.empty);
        return false;
    }
    !listen::session_rejected(worker, client)
}

/// Makes the TLS handshake that a client has asked for in the middle of its session, within `timeout
/// client`. An error is why that came to nothing.
pub async fn secure(
    worker: &Worker,
    client: &mut Client,
    acceptor: Arc<Acceptor>,
) -> Result<(), Cause> {
    let accept = |io| Ok::<_, HandshakeError>(TlsStream::accept(io, acceptor));
    if !matches!(client.io.begin_tls(accept), Ok(Ok(()))) {
        return Err(Cause::Resource);
    }
    client.seat.begin_tls();
    let times = &client.frontend.proxy().timeouts;
    let patience = times.client_hs.or(times.client);
    let began = Instant::now();
    client.timer.arm(patience.map(|t| began + t));
    let made = handshake(worker, client).await;
    client.handshake = Span::new(began.elapsed());
    made.map_err(|error| match error {
        HandshakeError::TimedOut => Cause::ClientTimeout,
        HandshakeError::Refused => Cause::Proxy,
        _ => Cause::ClientAbort,
    })
}

/// A header that comes before everything else: what is said where there is none.
struct Awaited {
    closed: &'static str,
    error: &'static str,
    timeout: &'static str,
    truncated: &'static str,
    /// The most that is waited for, bytes.
    longest: usize,
}

const PROXY: Awaited = Awaited {
    closed: "Connection closed while waiting for PROXY protocol header",
    error: "Connection error while waiting for PROXY protocol header",
    timeout: "Timeout while waiting for PROXY protocol header",
    truncated: "Truncated PROXY protocol header received",
    longest: 16 * 1024,
};

const NETSCALER: Awaited = Awaited {
    closed: "Connection closed while waiting for NetScaler Client IP header",
    error: "Connection error while waiting for NetScaler Client IP header",
    timeout: "Timeout while waiting for a NetScaler Client IP header",
    truncated: "Truncated NetScaler Client IP header received",
    longest: netscaler::LONGEST,
};

/// Reads a PROXY header.
async fn proxy_header(worker: &Worker, client: &mut Client) -> Result<(), Failure> {
    let header = PROXY.take(worker, client, |bytes| match proxy::read(bytes) {
        proxy::Read::Header(header) => Ok(Some((header.len, header))),
        proxy::Read::NeedMore => Ok(None),
        proxy::Read::Missing => {
            Err("Received something which does not look like a PROXY protocol header")
        }
        proxy::Read::Invalid => Err("Received an invalid PROXY protocol header"),
        proxy::Read::OtherProtocol => {
            Err("Received an unhandled protocol in the PROXY protocol header")
        }
    });
    let header = header.await?;
    client.info.proxy_header = Some(Box::new(header.extensions));
    go_by(client, header.addresses);
    Ok(())
}

/// Reads what a NetScaler writes that has agreed with us on this number.
async fn netscaler_header(worker: &Worker, client: &mut Client, magic: u32) -> Result<(), Failure> {
    let ends = NETSCALER.take(worker, client, |bytes| {
        match netscaler::read(bytes, magic) {
            netscaler::Read::Header {
                len,
                source,
                destination,
            } => Ok(Some((len, (source, destination)))),
            netscaler::Read::NeedMore => Ok(None),
            netscaler::Read::OtherNumber => {
                Err("Received an invalid NetScaler Client IP magic number")
            }
            netscaler::Read::OtherProtocol => {
                Err("Received an unhandled protocol in the NetScaler Client IP header")
            }
        }
    });
    let ends = ends.await?;
    go_by(client, Some(ends));
    Ok(())
}

/// These are the connection's addresses from here on.
fn go_by(client: &mut Client, ends: Option<(SocketAddr, SocketAddr)>) {
    if let Some((source, destination)) = ends {
        client.info.ends = Ends::new(Some(source), Some(destination));
    }
}

impl Awaited {
    /// Takes the header that `read` finds, with its length, at the start of the bytes so far. It is
    /// looked at and then taken exactly, so that what follows is left for TLS.
    async fn take<T>(
        &self,
        worker: &Worker,
        client: &mut Client,
        read: impl Fn(&[u8]) -> Result<Option<(usize, T)>, &'static str>,
    ) -> Result<T, Failure> {
        let mut seen = 0;
        let found = poll_fn(|cx| {
            let mut scratch = worker.scratch.borrow_mut();
            let buffer = scratch.get_mut(..self.longest).unwrap_or_default();
            self.poll(client, cx, buffer, &mut seen, &read)
        })
        .await;
        let (mut rest, header) = found?;
        while rest > 0 {
            let taken = poll_fn(|cx| {
                let mut scratch = worker.scratch.borrow_mut();
                let room = scratch.get_mut(..rest).unwrap_or_default();
                client.io.socket().poll_read(cx, room)
            })
            .await;
            match taken {
                Ok(n) if n > 0 => rest -= n.min(rest),
                _ => return Err(failure(self.error)),
            }
        }
        Ok(header)
    }

    fn poll<T>(
        &self,
        client: &mut Client,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        seen: &mut usize,
        read: &impl Fn(&[u8]) -> Result<Option<(usize, T)>, &'static str>,
    ) -> Poll<Result<(usize, T), Failure>> {
        loop {
            match client.io.socket().poll_peek(cx, buffer, *seen) {
                Poll::Pending => {
                    let expired = client.timer.poll_expired(cx);
                    return expired.map(|()| Err(failure(self.timeout)));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(failure(self.error))),
                Poll::Ready(Ok(0)) if *seen == 0 => {
                    return Poll::Ready(Err(Failure {
                        message: self.closed,
                        empty: true,
                    }));
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(failure(self.truncated))),
                Poll::Ready(Ok(n)) => {
                    *seen = n;
                    match read(buffer.get(..n).unwrap_or_default()) {
                        Ok(Some(found)) => return Poll::Ready(Ok(found)),
                        Ok(None) if n < buffer.len() => {}
                        Ok(None) => return Poll::Ready(Err(failure(self.truncated))),
                        Err(message) => return Poll::Ready(Err(failure(message))),
                    }
                }
            }
        }
    }
}

fn failure(message: &'static str) -> Failure {
    Failure {
        message,
        empty: false,
    }
}

/// Makes the TLS handshake.
async fn handshake(worker: &Worker, client: &mut Client) -> Result<(), HandshakeError> {
    let mut greeting = None;
    let made = poll_fn(|cx| {
        let Transport::Tls(tls) = &mut client.io else {
            return Poll::Ready(Ok(()));
        };
        match tls.poll_handshake(cx, &mut greeting) {
            Poll::Pending => {
                let expired = client.timer.poll_expired(cx);
                expired.map(|()| Err(HandshakeError::TimedOut))
            }
            ready => ready,
        }
    })
    .await;
    if let Transport::Tls(tls) = &mut client.io {
        let (agreed, fault) = (tls.agreed().unwrap_or_default(), tls.fault());
        client.info.tls = Some(Arc::new(crate::tls::info(greeting, agreed, fault)));
    }
    match &made {
        Ok(()) => account::handshake_done(worker, client),
        Err(HandshakeError::Empty) => {}
        Err(_) => account::handshake_failed(worker, client),
    }
    made
}
