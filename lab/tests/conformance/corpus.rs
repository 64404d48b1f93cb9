//! The cases' files: read, and written anew.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What the client sends in a case that is about the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Get,
    Head,
    HalfPost,
    Connect,
    Upgrade,
    Old,
    OldKept,
}

/// What the server does after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    Reset,
    Stall,
}

/// One case.
pub struct Case {
    pub name: String,
    /// The client's bytes, or the server's where `asked` is there.
    pub bytes: Vec<u8>,
    pub asked: Option<(Asked, Then)>,
    pub oracle: String,
    /// What the oracle does at times, where it is not sure itself.
    pub oracle_or: String,
    pub ours: String,
    pub because: String,
    source: String,
}

/// A file of cases.
pub struct Corpus {
    intro: String,
    pub cases: Vec<Case>,
}

fn path(file: &str) -> String {
    format!("{}/tests/conformance/{file}", env!("CARGO_MANIFEST_DIR"))
}

impl Corpus {
    pub fn read(file: &str) -> Corpus {
        let text = std::fs::read_to_string(path(file)).expect("the cases");
        let mut blocks = text.split("\n\n");
        let intro = blocks.next().unwrap_or("").to_string();
        let cases = blocks.filter(|b| !b.trim().is_empty()).map(case).collect();
        Corpus { intro, cases }
    }

    /// Writes the file anew with what happened.
    pub fn write(
        &self,
        file: &str,
        oracle: Option<&BTreeMap<String, String>>,
        ours: &BTreeMap<String, String>,
    ) {
        let mut text = self.intro.trim_end().to_string();
        for case in &self.cases {
            let ours = ours.get(&case.name).unwrap_or(&case.ours);
            let oracle = oracle
                .and_then(|o| o.get(&case.name))
                .unwrap_or(&case.oracle);
            let _ = write!(text, "\n\n{}", case.source);
            if ours == oracle {
                let _ = write!(text, "\n= {ours}");
            } else {
                let _ = write!(text, "\nhaproxy = {oracle}");
                if !case.oracle_or.is_empty() {
                    let _ = write!(text, "\nor      = {}", case.oracle_or);
                }
                let _ = write!(text, "\nmulgil  = {ours}\nbecause {}", case.because);
            }
        }
        std::fs::write(path(file), text + "\n").expect("the cases are written");
    }
}

fn case(block: &str) -> Case {
    let mut case = Case {
        name: String::new(),
        bytes: Vec::new(),
        asked: None,
        oracle: String::new(),
        oracle_or: String::new(),
        ours: String::new(),
        because: String::new(),
        source: String::new(),
    };
    let mut asked = Asked::Get;
    for line in block.trim().lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if matches!(word, "#" | ">" | "client" | "then") {
            if !case.source.is_empty() {
                case.source.push('\n');
            }
            case.source.push_str(line);
        }
        let outcome = rest.trim_start_matches(['=', ' ']).to_string();
        match word {
            "#" => case.name = rest.to_string(),
            ">" => case.bytes = bytes(rest),
            "client" => {
                asked = match rest {
                    "get" => Asked::Get,
                    "head" => Asked::Head,
                    "halfpost" => Asked::HalfPost,
                    "connect" => Asked::Connect,
                    "upgrade" => Asked::Upgrade,
                    "old" => Asked::Old,
                    "oldkept" => Asked::OldKept,
                    other => panic!("no such client: {other}"),
                }
            }
            "then" => {
                let then = match rest {
                    "keep" => Then::Keep,
                    "close" => Then::Close,
                    "reset" => Then::Reset,
                    "stall" => Then::Stall,
                    other => panic!("no such end: {other}"),
                };
                case.asked = Some((asked, then));
            }
            "=" => (case.oracle, case.ours) = (rest.to_string(), rest.to_string()),
            "haproxy" => case.oracle = outcome,
            "or" => case.oracle_or = outcome,
            "mulgil" => case.ours = outcome,
            "because" => case.because = rest.to_string(),
            other => panic!("no such line: {other}"),
        }
    }
    case
}

/// The bytes that a line means: `\r`, `\n`, `\t`, `\\`, `\xNN`, and `{text*N}` for repetition.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut open = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let mut plain = [0; 4];
        match c {
            '{' if chars.as_str().contains('*') => open = Some(out.len()),
            '*' if open.is_some() => {
                let digits: String = chars.by_ref().take_while(|c| *c != '}').collect();
                let start = open.take().unwrap_or_default();
                let part: Vec<u8> = out.drain(start..).collect();
                out.extend(part.repeat(digits.parse().expect("a number of repetitions")));
            }
            '\\' => match chars.next() {
                Some('r') => out.push(b'\r'),
                Some('n') => out.push(b'\n'),
                Some('t') => out.push(b'\t'),
                Some('x') => {
                    let digits: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&digits, 16).expect("two digits"));
                }
                other => out.extend(other.map(|c| c as u8)),
            },
            c => out.extend_from_slice(c.encode_utf8(&mut plain).as_bytes()),
        }
    }
    out
}

/// Bytes as a line shows them; long ones are cut in the middle.
pub fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        match c {
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    let n = out.chars().count();
    if n > 600 {
        let head: String = out.chars().take(150).collect();
        let tail: String = out.chars().skip(n - 60).collect();
        out = format!("{head}[...{n}]{tail}");
    }
    out
}
