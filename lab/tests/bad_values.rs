//! Values that cannot be meant, of schedulers, checks, persistence and tables: each has an error of its
//! own, which names the place and the value, and says what to do.

use lab::{Folder, Program};

/// A line of a `listen` section, or several; the line of them that is at fault, and what is said of it.
const LINES: &[(&str, usize, &str)] = &[
    (
        "server a :1 check inter 0",
        0,
        "'inter' must be longer than 0",
    ),
    (
        "server a :1 check inter -1",
        0,
        "'-1' is no time: write a number and us, ms, s, m, h or d",
    ),
    ("server a :1 check inter soon", 0, "'soon' is no time"),
    (
        "server a :1 check fastinter 0",
        0,
        "'fastinter' must be longer than 0",
    ),
    (
        "server a :1 check downinter 0",
        0,
        "'downinter' must be longer than 0",
    ),
    (
        "server a :1 check check-deadline 0",
        0,
        "'check-deadline' must be longer than 0",
    ),
    (
        "server a :1 check rise 0",
        0,
        "0 is out of range: 1 to 1048576",
    ),
    (
        "server a :1 check fall -1",
        0,
        "'-1' is no number from 1 to 1048576",
    ),
    (
        "server a :1 check port 0",
        0,
        "0 is out of range: 1 to 65535",
    ),
    (
        "server a :1 check port 65536",
        0,
        "65536 is out of range: 1 to 65535",
    ),
    (
        "server a :1 check init-state maybe",
        0,
        "unknown state 'maybe': use fully-up, up, down, fully-down",
    ),
    (
        "server a :1 agent-check",
        0,
        "add agent-port, such as agent-port 9777",
    ),
    (
        "server a :1 agent-check agent-port 1 agent-inter 0",
        0,
        "'agent-inter' must be longer than 0",
    ),
    (
        "server a :1 weight -1",
        0,
        "'-1' is no number from 0 to 256",
    ),
    ("server a :1 weight 257", 0, "257 is out of range: 0 to 256"),
    (
        "server a :1 weight 1.5",
        0,
        "'1.5' is no number from 0 to 256",
    ),
    ("server a :1 maxconn -1", 0, "'-1' is no number"),
    ("server a :1 minconn -1", 0, "'-1' is no number"),
    ("server a :1 maxqueue -1", 0, "'-1' is no number"),
    ("server a :1 slowstart soon", 0, "'soon' is no time"),
    ("server a :1 error-limit 0", 0, "0 is out of range: 1 to"),
    (
        "server a :1 observe layer5",
        0,
        "unknown layer 'layer5': did you mean 'layer4'?",
    ),
    (
        "server a :1 on-error panic",
        0,
        "unknown action 'panic': use fastinter, fail-check, sudden-death, mark-down",
    ),
    (
        "server a :1 on-marked-down end",
        0,
        "unknown action 'end': use shutdown-sessions",
    ),
    (
        "server a :1 on-marked-up end",
        0,
        "unknown action 'end': use shutdown-backup-sessions",
    ),
    (
        "server a :1 track nobody",
        0,
        "no server 'nobody' to track: name one that is there",
    ),
    (
        "server a :1 track b\nserver b :1",
        0,
        "server 'b' has no checks to track: give it 'check'",
    ),
    (
        "server a :1 check track b\nserver b :1 check",
        0,
        "server 'a' cannot both have checks and track 'b'",
    ),
    (
        "server a :1 track a",
        0,
        "server 'a' tracks 'a', which leads back to it: let one of them have checks",
    ),
    (
        "server a :1 track b\nserver b :1 track l/c\nserver c :1 track a",
        0,
        "server 'a' tracks 'b', which leads back to it",
    ),
    (
        "server a :1\nserver a :2",
        1,
        "'l' has a server 'a' already, at line 8: give this one another name",
    ),
    ("server a :1 id 0", 0, "0 is out of range: 1 to"),
    (
        "server a :1 id 7\nserver b :1 id 7",
        1,
        "server 'a' of 'l' has id 7 already: give 'b' another",
    ),
    (
        "server-template s 0 :1",
        0,
        "'0' is neither a number of servers nor a range, such as 1-3",
    ),
    (
        "server-template s 5-1 :1",
        0,
        "'5-1' is neither a number of servers nor a range",
    ),
    (
        "use-server nobody if TRUE",
        0,
        "no server here is called 'nobody': add 'server nobody'",
    ),
    (
        "cookie",
        0,
        "'cookie' wants a name, such as 'cookie SRV insert indirect'",
    ),
    (
        "cookie S insert\ncookie S insert",
        1,
        "the 'cookie' of 'l' stands at FILE:8 already: keep one of them",
    ),
    (
        "cookie S insert\ncookie T prefix",
        1,
        "the 'cookie' of 'l' stands at FILE:8 already",
    ),
    (
        "cookie S rewrite prefix",
        0,
        "only one of 'rewrite', 'insert' and 'prefix' can be",
    ),
    (
        "cookie S rewrite indirect",
        0,
        "'rewrite' and 'indirect' exclude each other",
    ),
    (
        "cookie S insert maxlife -1",
        0,
        "'-1' is no time: write a number and a unit, such as 30m",
    ),
    (
        "cookie S insert attr a;b",
        0,
        "an attribute has no ';' and no control characters",
    ),
    (
        "cookie S insret",
        0,
        "unknown word of 'cookie' 'insret': did you mean 'insert'?",
    ),
    (
        "persist me",
        0,
        "unknown word 'me' after 'persist': use rdp-cookie",
    ),
    (
        "force-persist",
        0,
        "'force-persist' wants 'if' or 'unless' and a condition",
    ),
    (
        "stick-table type nope size 1k",
        0,
        "unknown table type 'nope': use ip, ipv6, integer, string, binary",
    ),
    (
        "stick-table type ip",
        0,
        "a stick table wants a size, such as 'size 100k'",
    ),
    (
        "stick-table size 1k",
        0,
        "a stick table wants a type, such as 'type ip'",
    ),
    ("stick-table type ip size 0", 0, "0 is out of range: 1 to"),
    ("stick-table type ip size -1", 0, "'-1'"),
    (
        "stick-table type string len 0 size 1k",
        0,
        "0 is out of range: 1 to 65536",
    ),
    (
        "stick-table type ip len 4 size 1k",
        0,
        "keys of type 'ip' have their length: remove 'len'",
    ),
    (
        "stick-table type ip size 1k store conns",
        0,
        "unknown data 'conns'",
    ),
    (
        "stick-table type ip size 1k store http_req_rate",
        0,
        "'http_req_rate' wants a period, such as http_req_rate(10s)",
    ),
    (
        "stick-table type ip size 1k store http_req_rate(0)",
        0,
        "the period of 'http_req_rate' is 0: write one such as 10s",
    ),
    (
        "stick-table type ip size 1k store gpc(101)",
        0,
        "101 is out of range: 1 to 100",
    ),
    (
        "stick-table type ip size 1k peers nobody",
        0,
        "no 'peers nobody': add that section, or remove the word",
    ),
    (
        "stick-table type ip size 1k\nstick-table type ip size 1k",
        1,
        "'l' has a stick table already, at FILE:8",
    ),
    (
        "stick-table type ip size 1k\nstick on method",
        1,
        "a method cannot be a key of the stick table 'l', which is of type 'ip': change the expression or the type",
    ),
    (
        "stick-table type ip size 1k\nhttp-request track-sc0 method",
        1,
        "a method cannot be a key of the stick table 'l', which is of type 'ip'",
    ),
    (
        "stick-table type ip size 1k\nstick on bool(1)",
        1,
        "a boolean cannot be a key of the stick table 'l', which is of type 'ip'",
    ),
    (
        "balance rounrobin",
        0,
        "unknown algorithm 'rounrobin': did you mean 'roundrobin'?",
    ),
    ("balance uri len 0", 0, "0 is out of range: 1 to"),
    ("balance uri depth -1", 0, "'-1' is no number from 1 to"),
    (
        "balance url_param",
        0,
        "'balance url_param' wants a parameter's name",
    ),
    (
        "balance hdr()",
        0,
        "'balance hdr' wants a header's name, such as hdr(host)",
    ),
    ("balance random(0)", 0, "0 is out of range: 1 to 1000"),
    (
        "balance hash",
        0,
        "'balance hash' wants an expression, such as 'hash src'",
    ),
    (
        "balance agent\nserver a :1",
        1,
        "server 'a' has no agent to take its weight from: add 'agent-check', or choose another 'balance'",
    ),
    (
        "hash-type consistnet",
        0,
        "unknown hash method 'consistnet': did you mean 'consistent'?",
    ),
    (
        "hash-type consistent wt6",
        0,
        "'wt6' is a hash function that is described nowhere",
    ),
    (
        "hash-balance-factor 50",
        0,
        "it must be 0 or more than 100, such as 150",
    ),
    (
        "hash-balance-factor -1",
        0,
        "'-1' is no number from 0 to 65535",
    ),
    (
        "hash-preserve-affinity sometimes",
        0,
        "unknown way to keep affinity 'sometimes': use always, maxconn, maxqueue",
    ),
    ("fullconn -1", 0, "'-1' is no number"),
    ("timeout check soon", 0, "'soon' is no time"),
    (
        "http-check expect nothing x",
        0,
        "unknown expectation 'nothing'",
    ),
    ("retries -1", 0, "'-1' is no number"),
];

#[test]
fn each_bad_value_has_an_error_that_names_its_place_and_what_to_do() {
    let folder = Folder::new();
    let mut wrong = Vec::new();
    for (lines, at, part) in LINES {
        let lines = lines.replace(" :", " 127.0.0.1:").replace('\n', "\n ");
        let file = folder.file(
            "bad.cfg",
            format!(
                "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n\
                 listen l\n bind 127.0.0.1:1\n {lines}\n"
            )
            .as_bytes(),
        );
        let (status, said) = Program::mulgil().run(&["-c", "-f", &file]);
        let place = format!("{file}:{}:", 8 + at);
        let part = part.replace("FILE", &file);
        let named = said
            .lines()
            .any(|l| l.starts_with(&place) && l.contains("error: ") && l.contains(&part));
        if status == 0 || !named {
            wrong.push(format!("{lines}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
