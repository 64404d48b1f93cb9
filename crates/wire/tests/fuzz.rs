//! Damaged bytes of SMTP and of PROXY headers: whatever they are, reading them ends, does not
//! panic, and claims no more than there is. Seeded, so that each run is the same.

use wire::proxy::{self, Read};
use wire::smtp::{Command, Content, Ending, Heard, LONGEST_COMMAND, Line, hear, line};

/// What clients, servers and balancers send.
const CORPUS: [&[u8]; 8] = [
    b"EHLO mail.example.org\r\nMAIL FROM:<ann@one.example> SIZE=1024 BODY=8BITMIME\r\nRCPT TO:<bob@two.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@two.example\r\nDATA\r\nSubject: x\r\n\r\n..dots\r\n.\r\nQUIT\r\n",
    b"HELO [192.0.2.1]\r\nMAIL FROM:<>\r\nRCPT TO:<@a,@b:\"q \\\" s\"@[IPv6:2001:db8::1]>\r\nRCPT TO:<Postmaster>\r\nRSET\r\nNOOP x\r\nVRFY y\r\nHELP\r\nSTARTTLS\r\n",
    b"220 mx.example ESMTP\r\n250-mx.example\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n250 SMTPUTF8\r\n354 go\r\n550 5.1.1 no\r\n421 bye\r\n",
    b"one\r\n.\r\ntwo\n.\r\nthree\r.\rfour\r\n.\nfive\n.\n.\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\nEHLO x\r\n",
    b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x02\x9c\x40\0\x19",
];

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
fn damaged(random: &mut Random) -> Vec<u8> {
    let mut bytes = CORPUS[random.below(CORPUS.len())].to_vec();
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
                let other = CORPUS[random.below(CORPUS.len())];
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
    if let Read::Header(header) = proxy::read(bytes) {
        assert!(header.len <= bytes.len());
    }
}

#[test]
fn damaged_mail_and_headers_are_read_without_harm() {
    let mut random = Random(20_261_121);
    for _ in 0..40_000 {
        read_all(&damaged(&mut random));
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
    for _ in 0..40_000 {
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
