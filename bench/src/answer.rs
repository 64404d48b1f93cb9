//! A response as it arrives: whether it is the one that was wanted, and where it ends.

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// The head is not complete.
    Head,
    /// So many bytes of body are still to come.
    Body(u64),
    /// The body ends with the connection.
    UntilClose,
    /// It is complete.
    Complete,
    /// It is not what was wanted.
    Wrong,
}

/// One response being received.
#[derive(Default)]
pub struct Answer {
    /// A head that did not come in one piece.
    partial: Vec<u8>,
    body: Option<Fed>,
}

/// Longest head that is waited for.
const LONGEST_HEAD: usize = 16 * 1024;

impl Answer {
    /// Takes what was received. `length` is the body's length that it must have.
    pub fn feed(&mut self, bytes: &[u8], length: Option<u64>) -> Fed {
        let fed = match self.body {
            Some(Fed::Body(left)) => rest(left, bytes.len()),
            Some(fed) => fed,
            None if self.partial.is_empty() => self.head(bytes, length),
            None => {
                self.partial.extend_from_slice(bytes);
                let all = std::mem::take(&mut self.partial);
                self.head(&all, length)
            }
        };
        if fed != Fed::Head {
            self.body = Some(fed);
        }
        fed
    }

    /// Takes body bytes that were not kept.
    pub fn skip(&mut self, count: usize) -> Fed {
        let fed = match self.body {
            Some(Fed::Body(left)) => rest(left, count),
            Some(fed) => fed,
            None => Fed::Wrong,
        };
        self.body = Some(fed);
        fed
    }

    /// Whether it may end where the stream ended.
    pub fn may_end(&self) -> bool {
        self.body == Some(Fed::UntilClose)
    }

    /// Forgets it, for the next one.
    pub fn reset(&mut self) {
        self.partial.clear();
        self.body = None;
    }

    fn head(&mut self, bytes: &[u8], length: Option<u64>) -> Fed {
        let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
            self.partial = bytes.to_vec();
            return if bytes.len() > LONGEST_HEAD {
                Fed::Wrong
            } else {
                Fed::Head
            };
        };
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let ok = head.len() > 12 && head.starts_with(b"HTTP/1.") && &head[8..12] == b" 200";
        if !ok {
            return Fed::Wrong;
        }
        match (content_length(head), length) {
            (Some(has), Some(wanted)) if has != wanted => Fed::Wrong,
            (None, Some(_)) => Fed::Wrong,
            (None, None) => Fed::UntilClose,
            (Some(has), _) => rest(has, body.len()),
        }
    }
}

/// What is left of a body after some of it came; more than there is, is wrong.
fn rest(left: u64, came: usize) -> Fed {
    match left.checked_sub(came as u64) {
        Some(0) => Fed::Complete,
        Some(left) => Fed::Body(left),
        None => Fed::Wrong,
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    for line in head.split(|b| *b == b'\n') {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = std::str::from_utf8(&line[NAME.len()..]).ok()?;
            return value.trim().parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_complete_however_it_is_cut() {
        for cut in 0..OK.len() {
            let mut answer = Answer::default();
            let first = answer.feed(&OK[..cut], Some(5));
            assert!(matches!(first, Fed::Head | Fed::Body(_)), "cut at {cut}");
            assert_eq!(
                answer.feed(&OK[cut..], Some(5)),
                Fed::Complete,
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_body_may_be_skipped() {
        let mut answer = Answer::default();
        assert_eq!(answer.feed(&OK[..OK.len() - 3], Some(5)), Fed::Body(3));
        assert_eq!(answer.skip(2), Fed::Body(1));
        assert_eq!(answer.skip(1), Fed::Complete);
        answer.reset();
        assert_eq!(answer.feed(OK, None), Fed::Complete);
    }

    #[test]
    fn what_was_not_wanted_is_wrong() {
        let fed = |bytes: &[u8], length| Answer::default().feed(bytes, length);
        assert_eq!(fed(OK, Some(6)), Fed::Wrong);
        assert_eq!(
            fed(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", None),
            Fed::Wrong
        );
        assert_eq!(
            fed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", None),
            Fed::Wrong
        );
        assert_eq!(fed(b"HTTP/1.1 200 OK\r\n\r\n", Some(1)), Fed::Wrong);
        assert_eq!(fed(b"\r\n\r\n", None), Fed::Wrong);
        assert_eq!(fed(&[b'a'; LONGEST_HEAD + 1], None), Fed::Wrong);
        assert_eq!(Answer::default().skip(1), Fed::Wrong);
    }

    #[test]
    fn without_a_length_the_end_of_the_stream_is_the_end() {
        let mut answer = Answer::default();
        assert!(!answer.may_end());
        assert_eq!(
            answer.feed(b"HTTP/1.0 200 OK\r\n\r\nhi", None),
            Fed::UntilClose
        );
        assert!(answer.may_end());
    }
}
