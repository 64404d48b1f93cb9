//! Damaged files: whatever the bytes, loading ends, does not panic, and every message has its
//! place inside the file. Seeded, so that each run is the same.

mod common;

use common::Files;

/// Files as people write them.
const CORPUS: [&str; 6] = [
    include_str!("golden/textbook.cfg"),
    "global\n    log /dev/log local0\n    log /dev/log local1 notice\n    chroot /var/lib/haproxy\n    stats socket /run/haproxy/admin.sock mode 660 level admin\n    stats timeout 30s\n    user nobody\n    group nogroup\n    daemon\n\ndefaults\n    log global\n    mode http\n    option httplog\n    option dontlognull\n    timeout connect 5000\n    timeout client 50000\n    timeout server 50000\n    errorfile 503 sorry.http\n",
    "defaults named\n  mode http\n  timeout client 10s\n  acl static path_beg /static /images\n  http-request deny deny_status 429 if static !{ src 10.0.0.0/8 }\nfrontend www from named\n  bind :80,:::80 v4v6\n  bind /run/www.sock mode 600 user nobody\n  acl host_a hdr(host) -i a.example b.example\n  use_backend %[req.hdr(host),lower] if host_a\n  http-request set-header X-Forwarded-Proto \"http%[src]\"\n  redirect scheme https code 301 if !{ ssl_fc }\n  default_backend app\nbackend app\n  balance uri len 32 depth 3 whole\n  option httpchk GET /health HTTP/1.1 www\n  http-check expect rstatus ^2\n  default-server inter 2s fall 3 rise 2 check\n  server-template web 1-10 10.0.0.1:80 weight 5\n  server spare 10.0.1.1:80 backup source 0.0.0.0:1000-2000\n",
    "listen tcp-in\n  mode tcp\n  bind 127.0.0.1:7000-7010 interface lo\n  option tcp-check\n  tcp-check send-binary 50494e470d0a\n  tcp-check expect string +PONG\n  timeout client 1m\n  timeout server 1m\n  timeout connect 500ms\n  tcp-request connection reject if { src -f lists/bad.lst }\n  server a 127.0.0.1:+1\n  server b unix@/run/b.sock\n",
    ".if defined(HOME) && !streq(\"$HOME\",/)\n.notice \"${.FILE}:${.LINE} ${.SECTION}\"\n.elif version_atleast(2.6)\n.alert no\n.else\n.endif\nhttp-errors site\n errorfile 503 sorry.http\nbackend b\n errorfiles site 503\n http-error status 403 content-type text/plain string \"no $HOME ${HOME[*]} ${X-y}\" hdr A 'b c'\n description a\\ b\\#c \\x41 \"d'e\"\n",
    "peers p\n peer a 127.0.0.1:1\nresolvers r\n nameserver a 127.0.0.1:53\nlisten stats\n bind :8404\n mode http\n stats enable\n stats uri /stats\n stats refresh 10s\n stats auth admin:secret\n monitor-uri /alive\n monitor fail if { nbsrv(b) lt 1 }\n capture request header Host len 64\n log-format \"%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %{+Q}r\"\n unique-id-format %{+X}o\\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid\n",
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

/// One to eight changes: bytes, words and lines are taken out, doubled, swapped, cut or replaced.
fn damaged(random: &mut Random) -> Vec<u8> {
    let mut bytes = CORPUS[random.below(CORPUS.len())].as_bytes().to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            2 => {
                let odd = b"\"'\\$#{}()[]%!,:@/-+.*\r\n\t \0\xff\xc3if0 ";
                bytes.insert(at, odd[random.below(odd.len())]);
            }
            3 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            4 => {
                // A piece of another file.
                let other = CORPUS[random.below(CORPUS.len())].as_bytes();
                let from = random.below(other.len());
                let to = (from + random.below(120)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            5 => {
                let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
                let (a, b) = (random.below(lines.len()), random.below(lines.len()));
                lines.swap(a, b);
                bytes = lines.join(&b'\n');
            }
            _ => bytes.truncate(at.max(bytes.len() / 2)),
        }
    }
    bytes
}

#[test]
fn damaged_files_never_panic_and_every_message_has_its_place() {
    let mut random = Random(20_260_721);
    for round in 0..4_000 {
        let text = String::from_utf8_lossy(&damaged(&mut random)).into_owned();
        let lines: Vec<&str> = text.split('\n').collect();
        let loaded = Files::with(&text).load(&["a.cfg"]);
        let report = &loaded.report;
        assert_eq!(
            loaded.config.is_none(),
            report.errors() > 0,
            "round {round}: {text}"
        );
        for diagnostic in &report.diagnostics {
            if diagnostic.line == 0 {
                continue;
            }
            let line = lines.get(diagnostic.line - 1).copied();
            let line = line.unwrap_or_else(|| panic!("round {round}: {diagnostic}\n{text}"));
            let length = line.chars().count();
            assert!(
                (1..=length + 1).contains(&diagnostic.column),
                "round {round}: {diagnostic}\n{text}"
            );
            // Secrets are shown as asterisks.
            let mut pairs = diagnostic.text.chars().zip(line.chars());
            assert!(
                diagnostic.text.chars().count() <= length
                    && pairs.all(|(shown, there)| shown == there || shown == '*'),
                "round {round}: {diagnostic}"
            );
        }
    }
}

#[test]
fn deep_and_long_lines_end_in_time() {
    for text in [
        "(".repeat(100_000),
        "{ ".repeat(50_000),
        "!".repeat(100_000),
        "a ".repeat(100_000),
        "\"a\"".repeat(50_000),
        "%[".repeat(50_000),
        "a,".repeat(50_000),
    ] {
        for line in [
            format!(".if {text}"),
            format!("backend b\n http-request deny if {text}"),
            format!("backend b\n acl a {text}"),
            format!("backend b\n log-format {text}"),
            format!("listen b\n bind {text}"),
            format!("backend b\n server a {text}"),
            format!("{text}\n{text}"),
        ] {
            let loaded = Files::with(&line).load(&["a.cfg"]);
            assert!(loaded.report.diagnostics.len() <= 200);
        }
    }
}
