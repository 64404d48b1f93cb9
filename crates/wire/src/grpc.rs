//! The health service of gRPC (grpc.health.v1, doc/health-checking.md of the gRPC project): its
//! request and its answer as messages stand in a body, five bytes before each.

/// The path of the call.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the protocol
pub enum Serving {
    Unknown,
    Serving,
    NotServing,
    ServiceUnknown,
}

impl Serving {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Serving::Unknown => "UNKNOWN",
            Serving::Serving => "SERVING",
            Serving::NotServing => "NOT_SERVING",
            Serving::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// The name of a call's status, where it has one.
pub fn status_name(code: u32) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(usize::try_from(code).ok()?).copied()
}

/// Appends a number as protobuf has it.
fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// The body that asks how a service is; an empty name means the whole server.
pub fn request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, bytes.
        message.push(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.extend(service.as_bytes());
    }
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    body
}

/// What a body answers; `None` where it is no answer.
pub fn answer(body: &[u8]) -> Option<Serving> {
    let [compressed, a, b, c, d, rest @ ..] = body else {
        return None;
    };
    let len = u32::from_be_bytes([*a, *b, *c, *d]);
    let mut message = rest.get(..usize::try_from(len).ok()?)?;
    if *compressed != 0 {
        return None;
    }
    // A field that is not there has the value 0.
    let mut status = 0;
    let from = &mut message;
    while !from.is_empty() {
        let tag = varint(from)?;
        let skipped = match tag & 7 {
            0 => {
                let value = varint(from)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => varint(from)?,
            5 => 4,
            _ => return None,
        };
        *from = from.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(match status {
        1 => Serving::Serving,
        2 => Serving::NotServing,
        3 => Serving::ServiceUnknown,
        _ => Serving::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn questions_and_answers_are_those_of_the_protocol() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 10, 3, b'a', b'.', b'B']);
        for (body, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(Serving::Serving)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(Serving::NotServing)),
            (&[0, 0, 0, 0, 2, 8, 3], Some(Serving::ServiceUnknown)),
            (&[0, 0, 0, 0, 0], Some(Serving::Unknown)),
            // A field that is new, before the one that counts.
            (&[0, 0, 0, 0, 5, 18, 1, 7, 8, 1], Some(Serving::Serving)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 9, 8, 1], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (b"", None),
        ] {
            assert_eq!(answer(body), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(body in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = answer(&body);
            let mut framed = vec![0, 0, 0, 0, body.len() as u8];
            framed.extend(&body);
            let _ = answer(&framed);
        }
    }
}
