//! What comes before a session: the PROXY header, the TLS handshake, the session's rules.

use crate::session::Client;
use crate::termination::Cause;
use crate::tls::{HandshakeError, TlsStream};
use crate::transport::Transport;
use crate::worker::Worker;
use crate::{account, listen, report};
use ::tls::Acceptor;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use wire::proxy::{Header, Read};

/// Why a connection never became a session; the words are HAProxy's (manual, `fc_err_str`).
struct Failure {
    message: &'static str,
    /// The client left without a byte.
    empty: bool,
}

/// Takes a connection to the point where its session begins, within `timeout client`; whether it
/// got there. The handshake may have a time of its own (`timeout client-hs`).
pub async fn run(worker: &Worker, client: &mut Client) -> bool {
    let patience = client.frontend.proxy().timeouts.client;
    client.timer.arm(patience.map(|t| client.accepted + t));
    let mut outcome = Ok(());
    if client.accept_proxy {
        outcome = proxy_header(client).await;
    }
    if outcome.is_ok() && matches!(client.io, Transport::Tls(_)) {
        if let Some(patience) = client.frontend.proxy().timeouts.client_hs {
            client.timer.arm(Some(worker.now() + patience));
        }
        let made = handshake(worker, client).await;
        client.handshake = client.accepted.elapsed();
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
    client.handshake = began.elapsed();
    made.map_err(|error| match error {
        HandshakeError::TimedOut => Cause::ClientTimeout,
        HandshakeError::Refused => Cause::Proxy,
        _ => Cause::ClientAbort,
    })
}

/// The longest header that is waited for, bytes.
const LONGEST: usize = 16 + 4096;

/// Reads the header that names the true addresses. It is looked at and then taken exactly, so that
/// what follows is left for TLS.
async fn proxy_header(client: &mut Client) -> Result<(), Failure> {
    let mut buffer = vec![0; LONGEST];
    let mut seen = 0;
    let header = poll_fn(|cx| poll_header(client, cx, &mut buffer, &mut seen)).await?;
    let mut rest = header.len;
    while rest > 0 {
        let room = buffer.get_mut(..rest).unwrap_or_default();
        let taken = poll_fn(|cx| client.io.socket().poll_read(cx, room)).await;
        match taken {
            Ok(n) if n > 0 => rest -= n.min(rest),
            _ => {
                return Err(failure(
                    "Connection error while waiting for PROXY protocol header",
                ));
            }
        }
    }
    client.info.proxy_header = Some(Box::new(header.extensions));
    if let Some((source, destination)) = header.addresses {
        client.info.src = Some(source);
        client.info.dst = Some(destination);
    }
    Ok(())
}

fn poll_header(
    client: &mut Client,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    seen: &mut usize,
) -> Poll<Result<Header, Failure>> {
    loop {
        match client.io.socket().poll_peek(cx, buffer, *seen) {
            Poll::Pending => {
                let expired = client.timer.poll_expired(cx);
                return expired
                    .map(|()| Err(failure("Timeout while waiting for PROXY protocol header")));
            }
            Poll::Ready(Err(_)) => {
                return Poll::Ready(Err(failure(
                    "Connection error while waiting for PROXY protocol header",
                )));
            }
            Poll::Ready(Ok(0)) if *seen == 0 => {
                return Poll::Ready(Err(Failure {
                    message: "Connection closed while waiting for PROXY protocol header",
                    empty: true,
                }));
            }
            Poll::Ready(Ok(0)) => {
                return Poll::Ready(Err(failure("Truncated PROXY protocol header received")));
            }
            Poll::Ready(Ok(n)) => {
                *seen = n;
                match wire::proxy::read(buffer.get(..n).unwrap_or_default()) {
                    Read::Header(header) => return Poll::Ready(Ok(header)),
                    Read::NeedMore if n < buffer.len() => {}
                    _ => {
                        return Poll::Ready(Err(failure(
                            "Received something which does not look like a PROXY protocol header",
                        )));
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
