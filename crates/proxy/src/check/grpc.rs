//! `option grpc-check`: a call of gRPC's health service, over HTTP/2.

use super::clock::Phase;
use super::scene::Scene;
use crate::transport::Transport;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http_types::{HeaderMap, Request, Version};
use model::CheckTls;
use state::Target;
use state::health::{CheckStatus, Finding};
use std::io::{self, Cursor, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::grpc::{self, Serving};

/// Bytes of an answer that are looked at; the one that is awaited has seven.
const LONGEST: usize = 4096;

/// Asks the server how a service is, or (an empty name) how it is itself.
pub async fn run(scene: &Scene<'_>, service: &str) -> Result<Finding, Finding> {
    // Over TLS HTTP/2 is agreed on; without, it is known beforehand.
    let tls = scene.check.tls.as_ref().map(|tls| CheckTls {
        connector: Arc::new(tls.connector.offering(&["h2".into()])),
        sni: tls.sni.clone(),
        sni_auto: false,
    });
    let check = scene.check;
    let target = scene.target()?;
    let authority = match &target {
        Target::Tcp { ip, .. } if ip.is_ipv6() => format!("[{ip}]"),
        Target::Tcp { ip, .. } => ip.to_string(),
        _ => "localhost".into(),
    };
    let socks4 = scene.server.settings().socks4.filter(|_| check.via_socks4);
    let io = scene
        .connect_to(target, check.port, tls.as_ref(), check.send_proxy, socks4)
        .await?;
    scene.clock.enter(Phase::Answer);
    let handshake = h2::client::Builder::new().handshake(Stream(io)).await;
    let (requests, connection) = handshake.map_err(invalid)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let uri = format!("{scheme}://{authority}{}", grpc::PATH);
    let mut call = pin!(call(requests, &uri, service));
    let mut connection = pin!(connection);
    tokio::select! {
        found = &mut call => found,
        // What has come with the end of the connection is still there.
        _ = &mut connection => call.await,
    }
}

fn invalid(e: h2::Error) -> Finding {
    Finding::of(CheckStatus::L7Response).because(e.to_string())
}

async fn call(
    requests: SendRequest<Cursor<Vec<u8>>>,
    uri: &str,
    service: &str,
) -> Result<Finding, Finding> {
    let odd = |text: &str| Finding::of(CheckStatus::L7Response).because(text);
    let request = Request::post(uri)
        .version(Version::HTTP_2)
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("user-agent", "mulgil")
        .body(())
        .map_err(|_| odd("no call can be made of this address"))?;
    let mut requests = requests.ready().await.map_err(invalid)?;
    let (answer, mut body) = requests.send_request(request, false).map_err(invalid)?;
    let question = Cursor::new(grpc::request(service));
    body.send_data(question, true).map_err(invalid)?;
    judge(answer).await
}

/// Reads the answer: a status of HTTP, a message, and a status of the call behind it.
async fn judge(answer: ResponseFuture) -> Result<Finding, Finding> {
    let odd = |text: String| Finding::of(CheckStatus::L7Response).because(text);
    let answer = answer.await.map_err(invalid)?;
    if answer.status() != 200 {
        let status = answer.status().as_u16();
        return Err(odd(format!("HTTP status {status} is no answer of gRPC")));
    }
    // An answer without a message has its status among the first fields.
    let early = status_of(answer.headers());
    let mut body = answer.into_body();
    let message = read(&mut body).await?;
    let late = match early {
        Some(_) => None,
        None => body
            .trailers()
            .await
            .map_err(invalid)?
            .as_ref()
            .and_then(status_of),
    };
    match early.or(late) {
        None => return Err(odd("an answer without 'grpc-status'".into())),
        Some(0) => {}
        Some(code) => {
            let said = match grpc::status_name(code) {
                Some(name) => format!("grpc-status {code} ({name})"),
                None => format!("grpc-status {code}"),
            };
            let found = Finding::of(CheckStatus::L7Status).with_code(code);
            return Err(found.because(said));
        }
    }
    match grpc::answer(&message) {
        Some(Serving::Serving) => {
            Ok(Finding::of(CheckStatus::L7Ok).because(Serving::Serving.name()))
        }
        Some(other) => Err(Finding::of(CheckStatus::L7Status).because(other.name())),
        None => Err(odd("a message that is none of the health service".into())),
    }
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, Finding> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(invalid)?;
        // Room that is not given back lets nobody send more than the first window.
        let _ = body.flow_control().release_capacity(piece.len());
        message.extend_from_slice(&piece);
        if message.len() > LONGEST {
            let text = "an answer that is longer than any of the health service";
            return Err(Finding::of(CheckStatus::L7Response).because(text));
        }
    }
    Ok(message)
}

/// The status of the call, where it is there.
fn status_of(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The connection as `h2` reads and writes it.
struct Stream(Transport);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.poll_read(cx, buf.initialize_unfilled());
        read.map_ok(|n| buf.advance(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shutdown_write();
        Poll::Ready(Ok(()))
    }
}
