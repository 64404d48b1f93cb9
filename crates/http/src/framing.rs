//! Where a message's body ends (RFC 9112 section 6), decided so that no two readers can differ.

use crate::h1::{Error, ErrorKind};
use crate::head::{Head, Known, Version, split_items};
use crate::uri;

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Body {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// All until the sender closes; responses only.
    UntilClose,
    /// No longer HTTP: bytes in both directions (101, or 2xx to CONNECT).
    Tunnel,
}

/// What a request says of its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Request {
    /// Its body.
    pub body: Body,
    /// Whether the client wants to send another request.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expect_continue: bool,
    /// `Upgrade`, and `Connection: upgrade`.
    pub upgrade: bool,
}

/// What a response says of its connection and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Response {
    /// Its body.
    pub body: Body,
    /// Whether the server's connection can carry another request.
    pub keep_alive: bool,
}

/// What is let pass although readers may differ about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Lengths and bodies that the RFC forbids (`option accept-unsafe-violations-in-http-request`).
    pub unsafe_framing: bool,
    /// Bodies of requests of HTTP/1.0 whose method mostly has none (`h1-accept-payload-with-any-method`).
    pub any_payload: bool,
}

/// Judges a request; repairs what has only one meaning (equal lengths sent twice, a length beside
/// chunks) and refuses what has two.
pub fn request(head: &mut Head, tolerance: Tolerance) -> Result<Request, Error> {
    let accept_unsafe = tolerance.unsafe_framing;
    check_host(head)?;
    let chunked = transfer_encoding(head)?;
    let length = content_length(head, accept_unsafe)?;
    let mut keep_alive = keeps_alive(head);
    let body = match (chunked, length) {
        (true, _) if head.version() == Version::Http10 => {
            return Err(Error::new(ErrorKind::TransferEncoding, 0));
        }
        (true, length) => {
            if length.is_some() {
                // RFC 9112 section 6.3: the chunks count, and the connection is not trusted on.
                head.remove_known(Known::ContentLength);
                keep_alive = false;
            }
            Body::Chunked
        }
        (false, Some(0) | None) => Body::None,
        (false, Some(n)) => Body::Length(n),
    };
    if head.version() == Version::Http10
        && body != Body::None
        && !accept_unsafe
        && !tolerance.any_payload
        && matches!(head.method(), b"GET" | b"HEAD" | b"DELETE")
    {
        return Err(Error::new(ErrorKind::BodyNotAllowed, 0));
    }
    // A request with a body does not change the protocol: what follows it could be read as
    // either. Nor does one to h2c (RFC 9113 section 3.1 withdraws it): requests on such a
    // connection would pass unseen.
    let upgrade = head.version() != Version::Http10
        && body == Body::None
        && head.known(Known::Upgrade).next().is_some()
        && has_token(head, Known::Connection, b"upgrade")
        && !has_token(head, Known::Upgrade, b"h2c");
    if upgrade
        && has_token(head, Known::Upgrade, b"websocket")
        && head.get(b"sec-websocket-key").is_none()
    {
        return Err(Error::new(ErrorKind::Upgrade, 0));
    }
    Ok(Request {
        body,
        keep_alive,
        expect_continue: has_token(head, Known::Expect, b"100-continue"),
        upgrade,
    })
}

/// Judges the response to a request of that method.
pub fn response(
    head: &mut Head,
    request_method: &[u8],
    accept_unsafe: bool,
) -> Result<Response, Error> {
    let chunked = transfer_encoding(head)?;
    let length = content_length(head, accept_unsafe)?;
    let mut keep_alive = keeps_alive(head);
    let status = head.status();
    if status < 200 || status == 204 {
        // RFC 9110 section 8.6, RFC 9112 section 6.1: such a response says nothing of a body.
        head.remove_known(Known::ContentLength);
        head.remove_known(Known::TransferEncoding);
    }
    if status == 101 && head.known(Known::Upgrade).next().is_none() {
        return Err(Error::new(ErrorKind::Upgrade, 0));
    }
    let body = if status == 101 || (request_method == b"CONNECT" && (200..300).contains(&status)) {
        keep_alive = false;
        Body::Tunnel
    } else if (100..200).contains(&status)
        || status == 204
        || status == 304
        || request_method == b"HEAD"
    {
        Body::None
    } else if chunked && head.version() == Version::Http11 {
        if length.is_some() {
            head.remove_known(Known::ContentLength);
            keep_alive = false;
        }
        Body::Chunked
    } else if chunked {
        return Err(Error::new(ErrorKind::TransferEncoding, 0));
    } else {
        match length {
            Some(0) => Body::None,
            Some(n) => Body::Length(n),
            None => {
                keep_alive = false;
                Body::UntilClose
            }
        }
    };
    Ok(Response { body, keep_alive })
}

fn keeps_alive(head: &Head) -> bool {
    let mut keep = head.version() != Version::Http10;
    for line in head.known(Known::Connection) {
        for token in split_items(line) {
            if token.eq_ignore_ascii_case(b"close") {
                return false;
            }
            keep |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
    keep
}

fn has_token(head: &Head, known: Known, token: &[u8]) -> bool {
    head.known(known)
        .flat_map(split_items)
        .any(|item| item.eq_ignore_ascii_case(token))
}

/// Whether the body is chunked: `chunked`, and nothing else. Other codings before it are legal
/// (RFC 9112 section 6.1), but a receiver that does not know one of them may read on anyhow.
fn transfer_encoding(head: &Head) -> Result<bool, Error> {
    let mut codings = head
        .known(Known::TransferEncoding)
        .flat_map(|line| line.split(|b| *b == b','))
        .map(crate::syntax::trim);
    let Some(mut last) = codings.next() else {
        return Ok(false);
    };
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut others = false;
    for coding in codings {
        if is_chunked(last) {
            return Err(Error::new(ErrorKind::TransferEncoding, 0));
        }
        others = true;
        last = coding;
    }
    match (is_chunked(last), others) {
        (true, false) => Ok(true),
        (true, true) => Err(Error::new(ErrorKind::UnknownCoding, 0)),
        (false, _) => Err(Error::new(ErrorKind::TransferEncoding, 0)),
    }
}

/// The one length that all Content-Length lines agree on; doubled ones are made one.
fn content_length(head: &mut Head, _accept_unsafe: bool) -> Result<Option<u64>, Error> {
    let refused = || Error::new(ErrorKind::ContentLength, 0);
    let mut length: Option<u64> = None;
    let mut seen = 0;
    for line in head.known(Known::ContentLength) {
        let mut any = false;
        for item in line.split(|b| *b == b',') {
            let value = decimal(crate::syntax::trim(item)).ok_or_else(refused)?;
            if length.is_some_and(|known| known != value) {
                return Err(refused());
            }
            length = Some(value);
            any = true;
            seen += 1;
        }
        if !any {
            return Err(refused());
        }
    }
    if seen > 1
        && let Some(value) = length
    {
        head.remove_known(Known::ContentLength);
        head.append(b"Content-Length", value.to_string().as_bytes());
    }
    Ok(length)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// One Host at most (equal ones are made one), and the same as the target's authority where the
/// target has one.
fn check_host(head: &mut Head) -> Result<(), Error> {
    let refused = Err(Error::new(ErrorKind::Host, 0));
    let mut hosts = head.known(Known::Host);
    let Some(host) = hosts.next() else {
        return Ok(());
    };
    let mut again = 0;
    for other in hosts {
        if !other.eq_ignore_ascii_case(host) {
            return refused;
        }
        again += 1;
    }
    if host
        .iter()
        .any(|b| b.is_ascii_control() || matches!(b, b' ' | b','))
    {
        return refused;
    }
    if let Some(authority) = uri::authority(head.target(), head.method() == b"CONNECT") {
        let port = if uri::scheme(head.target()).is_some_and(|s| s.eq_ignore_ascii_case(b"https")) {
            443
        } else {
            80
        };
        if !uri::same_authority(authority, host, port) {
            return refused;
        }
    }
    if again > 0 {
        let host = host.to_vec();
        head.remove_known(Known::Host);
        head.append(b"Host", &host);
    }
    Ok(())
}
