//! Whether an answer is what was expected, and how that is told.

use super::answer::Answer;
use super::scene::{Scene, Seen};
use model::{CheckExpect, CheckStep, HeaderMatch, Match, TextHow, TextMatch, TextPattern};
use rules::LogFormat;
use state::health::{CheckStatus, Finding};
use std::borrow::Cow;
use std::sync::Arc;

/// What a check says whose format gives nothing to look for, or no bytes, word for word as HAProxy says it.
const EMPTY: &str = "log-format string evaluated to an empty string";
const NO_BYTES: &str = "Failed to parse hexastring resulting of eval of a log-format string";

/// What a format gives to look for.
fn wanted(scene: &Scene<'_>, format: &LogFormat, seen: Seen<'_>) -> Result<Vec<u8>, &'static str> {
    let text = scene.render(format, seen);
    match text.is_empty() {
        true => Err(EMPTY),
        false => Ok(text),
    }
}

/// Whether bytes hold what is expected, without regard to negation; an error where nothing can be expected.
pub fn bytes(scene: &Scene<'_>, what: &Match, bytes: &[u8]) -> Result<bool, &'static str> {
    let holds = |needle: &[u8]| {
        needle.is_empty() || bytes.windows(needle.len()).any(|window| window == needle)
    };
    let wanted = |format| wanted(scene, format, Seen::bytes(bytes));
    Ok(match what {
        Match::Text(needle) | Match::Binary(needle) => holds(needle),
        Match::TextFormat(format) => holds(&wanted(format)?),
        Match::BinaryFormat(format) => holds(&rules::unhex(&wanted(format)?).ok_or(NO_BYTES)?),
        Match::Regex(regex) => regex.is_match(bytes),
        Match::BinaryRegex(regex) => regex.is_match(&rules::hex(bytes)),
        Match::Status(_) | Match::StatusRegex(_) | Match::Header(_) => false,
    })
}

/// Whether a head is what is expected; `None` when the body decides.
pub fn head(
    scene: &Scene<'_>,
    what: &Match,
    answer: &mut Answer,
) -> Option<Result<bool, &'static str>> {
    let status = answer.head.status();
    match what {
        Match::Status(ranges) => Some(Ok(ranges
            .iter()
            .any(|(low, high)| (*low..=*high).contains(&status)))),
        Match::StatusRegex(regex) => Some(Ok(regex.is_match(status.to_string().as_bytes()))),
        Match::Header(header) => Some(header_fits(scene, header, answer)),
        _ => None,
    }
}

fn header_fits(
    scene: &Scene<'_>,
    header: &HeaderMatch,
    answer: &mut Answer,
) -> Result<bool, &'static str> {
    let wanted = |text: &TextMatch, answer: &mut Answer| match &text.pattern {
        TextPattern::Text(text) => Ok(text.as_bytes().to_vec()),
        TextPattern::Format(format) => wanted(scene, format, answer.seen()),
        TextPattern::Regex(_) => Ok(Vec::new()),
    };
    let mut name = wanted(&header.name, answer)?;
    name.make_ascii_lowercase();
    let value = match &header.value {
        Some(rule) => Some((rule, wanted(rule, answer)?)),
        None => None,
    };
    let mut fields = answer.head.fields();
    Ok(fields.any(|(n, v)| {
        if !text_fits(&header.name, &name, &n.to_ascii_lowercase()) {
            return false;
        }
        let Some((rule, wanted)) = &value else {
            return true;
        };
        match header.full {
            true => text_fits(rule, wanted, v),
            false => v
                .split(|b| *b == b',')
                .any(|part| text_fits(rule, wanted, part.trim_ascii())),
        }
    }))
}

fn text_fits(rule: &TextMatch, wanted: &[u8], text: &[u8]) -> bool {
    match (rule.how, &rule.pattern) {
        (TextHow::Reg, TextPattern::Regex(regex)) => regex.is_match(text),
        (TextHow::Beg, _) => text.starts_with(wanted),
        (TextHow::End, _) => text.ends_with(wanted),
        (TextHow::Sub, _) => {
            wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
        }
        (TextHow::Str | TextHow::Reg, _) => text == wanted,
    }
}

/// A text with the rule's comment after it.
pub fn commented(text: String, step: &CheckStep) -> String {
    match &step.comment {
        None => text,
        Some(comment) => format!("{text} comment: {comment}"),
    }
}

/// One `expect`, to be told.
pub struct Verdict<'a> {
    /// The check.
    pub scene: &'a Scene<'a>,
    /// The rule.
    pub expect: &'a CheckExpect,
    /// Where it stands.
    pub step: &'a CheckStep,
}

impl Verdict<'_> {
    /// Nothing could be expected, for this reason.
    pub fn unfit(&self, why: &'static str) -> Finding {
        let found = Finding::of(CheckStatus::L7Response);
        found.because(commented(why.into(), self.step))
    }

    /// These bytes hold what is expected, or not.
    pub fn on_bytes(&self, holds: bool, bytes: &[u8]) -> Result<Finding, Finding> {
        let seen = Seen::bytes(bytes);
        let expect = self.expect;
        if holds != expect.negated {
            let found = Finding::of(expect.ok);
            return Ok(self.told(found, 0, &expect.on_success, String::new, seen));
        }
        let what = match &expect.what {
            Match::Text(text) => Cow::Owned(format!("'{}'", String::from_utf8_lossy(text))),
            Match::Binary(_) => "(binary)".into(),
            Match::Regex(_) => "(regex)".into(),
            Match::BinaryRegex(_) => "(binary regex)".into(),
            Match::TextFormat(_) => "(log-format string)".into(),
            _ => "(log-format binary)".into(),
        };
        let how = match expect.negated {
            true => "matched unwanted content",
            false => "did not match content",
        };
        let text = || {
            let text = format!("TCPCHK {how} {what} at step {}", self.step.number);
            commented(text, self.step)
        };
        let found = Finding::of(expect.error.unwrap_or(CheckStatus::L7Response));
        Err(self.told(found, 0, &expect.on_error, text, seen))
    }

    /// An HTTP answer is what is expected, or not.
    pub fn on_answer(&self, holds: bool, answer: &mut Answer) -> Result<Finding, Finding> {
        let expect = self.expect;
        let status = u32::from(answer.head.status());
        if holds != expect.negated {
            let found = Finding::of(expect.ok);
            let seen = answer.seen();
            return Ok(self.told(found, status, &expect.on_success, String::new, seen));
        }
        let of_head = matches!(
            expect.what,
            Match::Status(_) | Match::StatusRegex(_) | Match::Header(_)
        );
        let text = match (of_head, expect.negated) {
            (true, _) => String::from_utf8_lossy(answer.head.reason()).into_owned(),
            (false, true) => "HTTP check matched unwanted content".into(),
            (false, false) => "HTTP content check did not match".into(),
        };
        let usual = match of_head {
            true => CheckStatus::L7Status,
            false => CheckStatus::L7Response,
        };
        let found = Finding::of(expect.error.unwrap_or(usual));
        let text = || commented(text, self.step);
        Err(self.told(found, status, &expect.on_error, text, answer.seen()))
    }

    /// Adds code and text.
    fn told(
        &self,
        mut found: Finding,
        code: u32,
        format: &Option<Arc<LogFormat>>,
        text: impl FnOnce() -> String,
        mut seen: Seen<'_>,
    ) -> Finding {
        let coded = matches!(
            found.status,
            CheckStatus::L7Ok | CheckStatus::L7OkCond | CheckStatus::L7Status
        );
        if coded {
            let own = self.expect.code.as_ref();
            let own = own.and_then(|e| self.scene.number(e, seen.again()));
            let own = own.and_then(|v| u32::try_from(v).ok());
            found = found.with_code(own.unwrap_or(code));
        }
        found.because(match format {
            Some(format) => String::from_utf8_lossy(&self.scene.render(format, seen)).into_owned(),
            None => text(),
        })
    }
}
