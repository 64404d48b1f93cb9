//! Keywords of `mode udp`.

use super::{Keyword, keyword, num};
use crate::draft::sections::*;

/// What only sessions of datagrams have.
pub(super) static DATAGRAM_KEYWORDS: &[Keyword] = &[keyword!(
    "udp-responses",
    BACK,
    "N",
    "1",
    "answers to each datagram after which a session is over; 0: none is awaited",
    |d, l| {
        l.exactly(1, "a number of datagrams")?;
        d.back.udp_responses = Some(num(l, 0, 0, 1 << 20)?);
        Ok(())
    }
)];
