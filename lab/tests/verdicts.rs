//! Line by line: what the oracle takes, warns of or refuses, we do, too.

use lab::said::Verdict;
use lab::{Folder, Program, port};

/// Lines of a `listen` section in HTTP mode; capital words stand for files.
const LINES: &str = include_str!("verdicts/lines.txt");

const RDP: &str = "in 'mode http' there is none: what has no effect is said";

/// Where our verdict is another, and why.
const DIFFERS: [(&str, &str); 35] = [
    (
        "option http-use-htx",
        "gone from the language, and so is what it could turn off: a warning",
    ),
    (
        "tcp-request content accept if { req.len gt 5 }",
        "content is looked at in both modes here",
    ),
    ("balance roundrobin x", WORD),
    ("balance source x", WORD),
    (
        "balance hash src src_port",
        "more than one expression is ours",
    ),
    ("balance rdp-cookie", RDP),
    ("balance rdp-cookie(x)", RDP),
    ("persist rdp-cookie", RDP),
    ("persist rdp-cookie(x)", RDP),
    (
        "cookie SRV rewrite maxidle 1h",
        "the word has no effect there, and is not passed over in silence",
    ),
    ("clitcpka-cnt 3 4", WORD),
    ("errorloc 400 /x y", WORD),
    ("log-tag a b", WORD),
    ("stats enable x", WORD),
    ("stats uri /x y", WORD),
    ("stats hide-version x", WORD),
    (
        "bind :19998 process 1",
        "deprecated in 2.6; here it only says what is so anyway",
    ),
    (
        "clitcpka-cnt 300",
        "the kernel takes at most 127, and a byte is read",
    ),
    (
        "default-server id 4",
        "the oracle says an alert, then goes on",
    ),
    ("fullconn x", NUMBER),
    ("maxconn x", NUMBER),
    ("maxconn -1", NUMBER),
    ("retries x", NUMBER),
    ("retries -1", NUMBER),
    ("option redispatch x", NUMBER),
    ("server a 127.0.0.1:80 weight x", NUMBER),
    ("server a 127.0.0.1:80 weight", NUMBER),
    ("bind :19998 backlog x", NUMBER),
    ("server a 127.0.0.1:80 max-reuse x", NUMBER),
    ("server a 127.0.0.1:80 maxconn -1", NUMBER),
    ("http-request set-header a b if TRUE or", CONDITION),
    ("http-request set-header a b if !", CONDITION),
    ("log-format %{+Z}r", "a flag that does not exist is a slip"),
    (
        "default option dontlognull",
        "the manual has it; the oracle stumbles over the shifted words",
    ),
    ("stats auth x", "a user without password could never log in"),
];

const WORD: &str = "the oracle passes over a word too many in silence; we say so";
const NUMBER: &str = "the oracle reads what is no number as 0";
const CONDITION: &str = "the condition ends where an ACL should stand";

#[test]
fn every_line_has_the_verdict_that_the_oracle_gives_it() {
    let Some(oracle) = Program::haproxy() else {
        println!("haproxy is not installed: there is nothing to compare with");
        return;
    };
    let ours = Program::mulgil();
    let folder = Folder::new();
    let page = folder.file("page", b"HTTP/1.0 503 Unavailable\r\nA: b\r\n\r\nsorry");
    let short = folder.file("short", b"HTTP/1.0 503 x\r\nContent-Length: 10\r\n\r\nabc");
    let garbage = folder.file("garbage", b"garbage");
    let (web, other) = (port(), port());
    let mut wrong = Vec::new();
    for line in LINES.lines() {
        let known = DIFFERS.iter().find(|(known, _)| *known == line);
        let said = line
            .replace("PAGE", &page)
            .replace("SHORT", &short)
            .replace("GARBAGE", &garbage)
            .replace("ABSENT", &folder.path("absent"))
            .replace("SOCKET", &folder.path("socket"));
        let times = "timeout client 1s\n timeout server 1s\n timeout connect 1s\n";
        let text = format!(
            "global\n log 127.0.0.1 local0\ndefaults\n mode http\n {times}listen here\n bind 127.0.0.1:{web}\n log global\n {said}\n\
             http-errors pages\n errorfile 503 {page}\nbackend app\n server one 127.0.0.1:{other}\n\
             listen another\n bind 127.0.0.1:{other}\n"
        );
        let file = folder.file("line.cfg", text.as_bytes());
        let (wanted, theirs) = Verdict::of(&oracle, &file);
        let (got, text) = Verdict::of(&ours, &file);
        let not_yet = text.contains("does not have yet");
        if let Some((_, why)) = known {
            if got == wanted {
                wrong.push(format!("{line} is no difference any more: {why}"));
            }
        } else if got != wanted && !not_yet {
            wrong.push(format!("{line}: {wanted:?}, not {got:?}\n{theirs}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
