//! The answer of a server's agent: one line of words (manual section 5.2, `agent-check`).

/// The administrative state that an agent asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Neither drain nor maintenance.
    Ready,
    /// No new sessions.
    Drain,
    /// No sessions, and no checks.
    Maint,
}

/// What an agent says; what it does not mention stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply<'a> {
    /// `ready`, `drain` or `maint`; the last one counts.
    pub admin: Option<Admin>,
    /// Whether the server is up, and the word that said so: `up`, `down`, `fail` or `stopped`.
    pub state: Option<(bool, &'a str)>,
    /// What follows `#`.
    pub why: Option<&'a str>,
    /// `75%`: the weight in percent of the configured one.
    pub percent: Option<u32>,
    /// `maxconn:30`.
    pub maxconn: Option<u32>,
    /// A word that means nothing.
    pub unknown: Option<&'a str>,
    /// Why a number was not taken.
    pub warning: Option<&'static str>,
}

/// Reads the first line of what an agent sent; `None` while its end (CR or LF) has not come.
///
/// Never fails: what cannot be understood is told in [`Reply::unknown`] and [`Reply::warning`].
pub fn parse(bytes: &[u8]) -> Option<Reply<'_>> {
    let end = bytes.iter().position(|b| matches!(b, b'\r' | b'\n' | 0))?;
    let line = match (bytes.get(end), bytes.get(..end)) {
        (Some(0), _) | (_, None) => return None,
        // What is not text means nothing anyway; the words before it count.
        (_, Some(line)) => line.utf8_chunks().next().map_or("", |c| c.valid()),
    };
    let mut reply = Reply::default();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if let Some(why) = rest.strip_prefix('#') {
            reply.why = Some(why.trim());
            return Some(reply);
        }
        if rest.is_empty() {
            return Some(reply);
        }
        let end = rest.find([' ', '\t', ',']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        reply.take(word);
    }
}

impl<'a> Reply<'a> {
    fn take(&mut self, word: &'a str) {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        let limit = word.get(..8).filter(|p| p.eq_ignore_ascii_case("maxconn:"));
        if is("up") {
            self.state = Some((true, word));
        } else if is("down") || is("fail") || is("stopped") {
            self.state = Some((false, word));
        } else if is("ready") {
            self.admin = Some(Admin::Ready);
        } else if is("drain") {
            self.admin = Some(Admin::Drain);
        } else if is("maint") {
            self.admin = Some(Admin::Maint);
        } else if limit.is_some() {
            match number(word.get(8..).unwrap_or_default()) {
                (Some(n), "") => self.maxconn = Some(n),
                (Some(_), _) => self.warning = Some("Trailing garbage in maxconn string"),
                (None, "") => self.warning = Some("Require <maxconn>."),
                (None, _) => {
                    self.warning = Some("maxconn string empty or preceded by garbage");
                }
            }
        } else if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('%') {
            match number(word) {
                (Some(n), "%") => self.percent = Some(n),
                _ => self.warning = Some("Trailing garbage in weight string"),
            }
        } else {
            self.unknown = Some(word);
        }
    }
}

/// The number that a text begins with, as large as there is room for, and what follows it.
fn number(text: &str) -> (Option<u32>, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    match digits {
        "" => (None, rest),
        digits => (Some(digits.parse().unwrap_or(u32::MAX)), rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Reply<'_> {
        parse(text.as_bytes()).expect("a whole line")
    }

    #[test]
    fn words_may_stand_in_any_order_with_any_separator() {
        let reply = of("up 30%,maxconn:7\tready\r\nignored\n");
        assert_eq!(reply.state, Some((true, "up")));
        assert_eq!((reply.percent, reply.maxconn), (Some(30), Some(7)));
        assert_eq!(reply.admin, Some(Admin::Ready));
        assert_eq!(
            (reply.unknown, reply.warning, reply.why),
            (None, None, None)
        );
    }

    #[test]
    fn the_last_of_two_words_of_a_kind_counts() {
        assert_eq!(of("up down\n").state, Some((false, "down")));
        assert_eq!(of("drain maint\n").admin, Some(Admin::Maint));
    }

    #[test]
    fn a_reason_follows_a_sharp_that_begins_a_word() {
        let reply = of("Fail # late # again 30% \n");
        assert_eq!(reply.state, Some((false, "Fail")));
        assert_eq!((reply.why, reply.percent), (Some("late # again 30%"), None));
        assert_eq!(of("down#late\n").unknown, Some("down#late"));
    }

    #[test]
    fn numbers_that_are_none_are_told_and_not_taken() {
        for (text, warning) in [
            ("5x%\n", "Trailing garbage in weight string"),
            ("75%up\n", "Trailing garbage in weight string"),
            ("maxconn:7x\n", "Trailing garbage in maxconn string"),
            ("maxconn:\n", "Require <maxconn>."),
            ("maxconn:x\n", "maxconn string empty or preceded by garbage"),
        ] {
            let reply = of(text);
            assert_eq!(reply.warning, Some(warning), "{text}");
            assert_eq!((reply.percent, reply.maxconn), (None, None), "{text}");
        }
        assert_eq!(of("99999999999%\n").percent, Some(u32::MAX));
        assert_eq!(of("-5%\n").unknown, Some("-5%"));
    }

    #[test]
    fn a_line_needs_its_end() {
        assert_eq!(parse(b"50%"), None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"up\0 down\n"), None);
        assert_eq!(parse(b"\nup\n"), Some(Reply::default()));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
