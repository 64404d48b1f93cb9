//! Damaged bytes of SMTP, of FTP and of PROXY headers: whatever they are, reading them ends, does not
//! panic, and claims no more than there is. Seeded, so that each run is the same; `MULGIL_FUZZ=N` makes N
//! times as many damaged messages.

use wire::ftp::{self, Replies};
use wire::proxy::{self, Read};
use wire::smtp::{Command, Content, Ending, Heard, LONGEST_COMMAND, Line, hear, line};

/// What clients, servers and balancers send.
const CORPUS: [&[u8]; 10] = [
    b"EHLO mail.example.org\r\nMAIL FROM:<ann@one.example> SIZE=1024 BODY=8BITMIME\r\nRCPT TO:<bob@two.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@two.example\r\nDATA\r\nSubject: x\r\n\r\n..dots\r\n.\r\nQUIT\r\n",
    b"HELO [192.0.2.1]\r\nMAIL FROM:<>\r\nRCPT TO:<@a,@b:\"q \\\" s\"@[IPv6:2001:db8::1]>\r\nRCPT TO:<Postmaster>\r\nRSET\r\nNOOP x\r\nVRFY y\r\nHELP\r\nSTARTTLS\r\n",
    b"220 mx.example ESMTP\r\n250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n250 SMTPUTF8\r\n354 go\r\n550 5.1.1 no\r\n421 bye\r\n",
    b"EHLO x\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\nAUTH SCRAM-SHA-256 =\r\nYW5u\r\n*\r\nMAIL FROM:<a@b> AUTH=<>\r\n",
    b"250-mx\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n334 VXNlcm5hbWU6\r\n235 2.7.0 ok\r\n",
    b"one\r\n.\r\ntwo\n.\r\nthree\r.\rfour\r\n.\nfive\n.\n.\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\nEHLO x\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\x9c\x40\0\x19",
];

/// How many messages of each kind are damaged.
fn rounds() -> usize {
    let times = std::env::var("MULGIL_FUZZ").ok();
    40_000 * times.and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// SplitMix64 (public domain).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// One to eight changes: bytes are taken out, doubled, replaced, put in from elsewhere.
fn damaged(corpus: &[&[u8]], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            2 => {
                let odd = b"\r\n\0.<>@\"\\ :=-;,[]\xff\xc3\x80250 \t";
                bytes.insert(at, odd[random.below(odd.len())]);
            }
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            4 => {
                let other = corpus[random.below(corpus.len())];
                let from = random.below(other.len());
                let to = (from + random.below(60)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    bytes
}

/// Reads everything that may be a client's, a server's or a balancer's.
fn read_all(bytes: &[u8]) {
    for bare in [false, true] {
        let mut rest = bytes;
        while let Line::Whole { length, end } = line(rest, bare, LONGEST_COMMAND) {
            assert!(length + end <= rest.len());
            let text = &rest[..length];
            assert!(!text.contains(&b'\n') && !text.contains(&b'\r'));
            if let Ok(Command::Mail(path, parameters) | Command::Rcpt(path, parameters)) =
                Command::read(text)
            {
                let mut out = path.address.to_vec();
                parameters.write(|_| true, &mut out);
                assert!(!out.iter().any(u8::is_ascii_control), "{text:?}");
            }
            rest = &rest[length + end..];
        }
        let mut out = Vec::new();
        if let Ending::At(n) = Content::new(bare).feed(bytes, &mut out) {
            assert!(n <= bytes.len() && out.ends_with(b".\r\n"));
        }
        assert!(out.len() <= bytes.len() * 2);
    }
    let mut rest = bytes;
    while let Heard::Reply(reply, length) = hear(rest) {
        let mut out = Vec::new();
        reply.write(&mut out);
        reply.capabilities();
        let lines = out.iter().filter(|b| **b == b'\n').count();
        assert_eq!(lines, reply.lines.len());
        rest = &rest[length..];
    }
    let header = match proxy::read(bytes) {
        Read::Header(header) => Some(header),
        _ => None,
    };
    assert!(header.as_ref().is_none_or(|h| h.len <= bytes.len()));
    // Before a datagram the same stands whole, and in version 2.
    let whole = header.filter(|_| bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    assert_eq!(proxy::read_datagram(bytes), whole);
}

/// What clients and servers of FTP say.
const FTP: [&[u8]; 5] = [
    b"AUTH TLS\r\nPBSZ 0\r\nPROT P\r\nUSER ann\r\nPASS x\r\nFEAT\r\nOPTS UTF8 ON\r\nTYPE I\r\nCWD /a b\r\n",
    b"PORT 192,0,2,1,4,210\r\nEPRT |1|192.0.2.1|1234|\r\nEPRT |2|2001:db8::1|1234|\r\nEPSV ALL\r\nEPSV 2\r\nPASV\r\nRETR a\r\n\xff\xf4\xf2ABOR\r\n",
    b"220-hello\r\n 220 not yet\r\n220 ready\r\n331 go on\r\n230 in\r\n150 here it comes\r\n226 done\r\n421 bye\r\n",
    b"227 Entering Passive Mode (192,0,2,1,4,210).\r\n227 =192,0,2,1,255,255\r\n229 Extended (|||6446|)\r\n",
    b"211-Features:\r\n EPRT\r\n EPSV\r\n MDTM\r\n REST STREAM\r\n AUTH TLS\r\n211 End\r\n",
];

#[test]
fn damaged_files_and_their_ports_are_read_without_harm() {
    let mut random = Random(959);
    for _ in 0..rounds() {
        let bytes = damaged(&FTP, &mut random);
        let (mut rest, mut replies) = (bytes.as_slice(), Replies::default());
        while let Some(end) = ftp::line(rest) {
            assert!(end > 0 && end <= rest.len());
            let (line, after) = rest.split_at(end);
            let _ = (replies.line(line), ftp::feature(line), ftp::command(line));
            for argument in [line, &line[line.len() / 2..]] {
                let _ = (ftp::port(argument), ftp::extended_port(argument));
                let _ = ftp::extended_passive(argument);
                let found = (
                    ftp::passive_port(argument),
                    ftp::extended_passive_port(argument),
                );
                assert!(found.0 != Some(0) && found.1 != Some(0), "{argument:?}");
            }
            rest = after;
        }
    }
}

#[test]
fn damaged_mail_and_headers_are_read_without_harm() {
    let mut random = Random(20_261_121);
    for _ in 0..rounds() {
        read_all(&damaged(&CORPUS, &mut random));
    }
}

/// What text is damaged into is seldom a binary header.
#[test]
fn damaged_binary_headers_are_read_without_harm() {
    let addresses = (
        "192.0.2.1:40000".parse().expect("an address"),
        "192.0.2.2:25".parse().expect("an address"),
    );
    let extensions: [(u8, &[u8]); 2] = [(0x02, b"name.example"), (0xe0, b"")];
    let good = [
        proxy::header(Some(addresses), &extensions, true),
        proxy::header(None, &[], false),
    ];
    let mut random = Random(5321);
    for _ in 0..rounds() {
        let mut bytes = good[random.below(good.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.next() as u8),
            }
        }
        read_all(&bytes);
    }
}
