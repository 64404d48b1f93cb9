//! The codec from outside: tables of what is read how, and properties over any split of the bytes.

use http::chunk::Decoder;
use http::framing::{self, Body};
use http::h1::{ParseOptions, parse_request, parse_response};
use http::{Head, Version};
use proptest::prelude::*;

fn request(text: &str) -> Result<Head, u16> {
    let mut head = Head::default();
    match parse_request(text.as_bytes(), &ParseOptions::default(), &mut head) {
        Ok(Some(n)) => {
            assert_eq!(n, text.len(), "the whole text is the head");
            Ok(head)
        }
        Ok(None) => Err(0),
        Err(e) => Err(e.status()),
    }
}

fn written(head: &Head) -> String {
    let mut out = Vec::new();
    head.write_to(&mut out);
    String::from_utf8(out).expect("ascii")
}

#[test]
fn an_unedited_head_goes_out_as_it_came_in() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Odd:   spaced  \r\nx-Case:1\r\n\r\n";
    let head = request(text).expect("parses");
    assert_eq!(written(&head), text);
    assert_eq!(head.get(b"x-odd"), Some(&b"spaced"[..]));
    assert_eq!((head.path(), head.query()), (&b"/a"[..], Some(&b"b=c"[..])));
}

#[test]
fn malformed_requests_are_refused_with_the_right_status() {
    for (text, status) in [
        ("GET / HTTP/1.1\r\nHo st: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nnocolon\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n folded: first\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\na: b\0c\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\na: b\rc\r\n\r\n", 400),
        ("GET  / HTTP/1.1\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 400),
        ("GET / HTTP/1.2\r\n\r\n", 400),
        ("GET /\u{e9} HTTP/1.1\r\n\r\n", 400),
        ("GET /#x HTTP/1.1\r\n\r\n", 400),
        ("GET foo HTTP/1.1\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\n\r\n", 400),
        ("CONNECT / HTTP/1.1\r\n\r\n", 400),
        ("\u{1}GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        assert_eq!(request(text).err(), Some(status), "{text:?}");
    }
}

#[test]
fn limits_name_what_was_too_long() {
    let options = ParseOptions {
        max_head: 64,
        max_headers: 2,
        ..ParseOptions::default()
    };
    let status = |text: String| {
        parse_request(text.as_bytes(), &options, &mut Head::default())
            .err()
            .map(|e| e.status())
    };
    assert_eq!(
        status(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(80))),
        Some(414)
    );
    assert_eq!(
        status(format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(80))),
        Some(431)
    );
    assert_eq!(
        status("GET / HTTP/1.1\r\na:1\r\nb:2\r\nc:3\r\n\r\n".into()),
        Some(431)
    );
    assert_eq!(
        status(format!("GET /{}", "a".repeat(80))),
        Some(414),
        "even before its end"
    );
}

#[test]
fn folded_lines_and_bare_line_feeds_go_out_clean() {
    let head = {
        let text = "GET / HTTP/1.1\nHost: a\nX: one\r\n\t two\r\n\r\n";
        let mut head = Head::default();
        parse_request(text.as_bytes(), &ParseOptions::default(), &mut head)
            .expect("valid")
            .expect("complete");
        head
    };
    let out = written(&head);
    assert!(!out.replace("\r\n", "").contains(['\r', '\n']), "{out:?}");
    assert!(
        out.starts_with("GET / HTTP/1.1\r\nHost: a\r\nX: one"),
        "{out:?}"
    );
}

#[test]
fn odd_names_are_taken_where_that_is_wanted_but_none_that_programs_read_differently() {
    let odd = ParseOptions {
        accept_unsafe: true,
        ..ParseOptions::default()
    };
    let read = |options: &ParseOptions, name: &[u8]| {
        let text = [b"GET / HTTP/1.1\r\n", name, b": 5\r\n\r\n"].concat();
        let mut head = Head::default();
        parse_request(&text, options, &mut head).map(|_| head.get(name).map(<[u8]>::to_vec))
    };
    for name in [&b"X(Y"[..], b"[x]", b"x/", b"x\x80", b"\""] {
        assert_eq!(read(&odd, name), Ok(Some(b"5".to_vec())), "{name:?}");
        assert!(read(&ParseOptions::default(), name).is_err(), "{name:?}");
    }
    for name in [&b""[..], b"X ", b"X Y", b"X\tY", b"X\0", b"X\x01", b"X\x7f"] {
        assert!(read(&odd, name).is_err(), "{name:?}");
    }
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let mut head = Head::default();
    let text = b"\r\n\r\nGET / HTTP/1.1\r\n\r\nrest";
    let used = parse_request(text, &ParseOptions::default(), &mut head);
    assert_eq!(used.ok().flatten(), Some(text.len() - 4));
    assert_eq!(written(&head), "GET / HTTP/1.1\r\n\r\n");
}

#[test]
fn framing_of_requests_has_one_meaning_or_none() {
    let framed = |fields: &str| {
        let mut head = request(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).map_err(|_| 0u16)?;
        framing::request(&mut head, framing::Tolerance::default())
            .map(|f| (f.body, f.keep_alive, written(&head)))
            .map_err(|e| e.status())
    };
    let body = |fields: &str| framed(fields).map(|f| f.0);
    assert_eq!(body(""), Ok(Body::None));
    assert_eq!(body("Content-Length: 5\r\n"), Ok(Body::Length(5)));
    assert_eq!(body("Transfer-Encoding: chunked\r\n"), Ok(Body::Chunked));
    assert_eq!(body("Transfer-Encoding: CHUNKED\r\n"), Ok(Body::Chunked));
    assert_eq!(body("Transfer-Encoding: gzip, CHUNKED\r\n"), Err(422));
    for refused in [
        "Transfer-Encoding: ,chunked\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: \u{b}chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Host: a\r\nHost: b\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
    ] {
        assert!(
            body(refused).is_err(),
            "{refused:?} was read as {:?}",
            body(refused)
        );
    }
    let (_, keep_alive, out) =
        framed("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n").expect("chunks count");
    assert!(!keep_alive && !out.contains("Content-Length"), "{out:?}");
    let (_, _, out) = framed("Content-Length: 5\r\nContent-Length: 5\r\n").expect("equal");
    assert_eq!(out.matches("Content-Length").count(), 1, "{out:?}");
}

#[test]
fn an_http_1_0_request_has_no_chunks_and_no_body_with_get() {
    for fields in ["Transfer-Encoding: chunked\r\n", "Content-Length: 3\r\n"] {
        let mut head = request(&format!("GET / HTTP/1.0\r\n{fields}\r\n")).expect("a head");
        assert!(
            framing::request(&mut head, framing::Tolerance::default()).is_err(),
            "{fields:?}"
        );
    }
}

#[test]
fn the_authority_of_the_target_must_be_the_host() {
    for (target, host, ok) in [
        ("http://a.example/x", "a.example", true),
        ("http://a.example:80/x", "A.EXAMPLE", true),
        ("http://a.example/x", "b.example", false),
        ("http://a.example:81/x", "a.example", false),
        ("https://a.example:443/x", "a.example", true),
    ] {
        let mut head =
            request(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect("a head");
        assert_eq!(
            framing::request(&mut head, framing::Tolerance::default()).is_ok(),
            ok,
            "{target} {host}"
        );
    }
}

#[test]
fn framing_of_responses_follows_method_status_and_fields() {
    let framed = |method: &str, text: &str| {
        let mut head = Head::default();
        parse_response(text.as_bytes(), &ParseOptions::default(), &mut head)
            .ok()
            .flatten()
            .expect("a head");
        framing::response(&mut head, method.as_bytes(), false)
            .map(|r| (r.body, r.keep_alive))
            .map_err(|e| e.status())
    };
    let te = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(framed("GET", te), Ok((Body::Chunked, true)));
    assert_eq!(framed("HEAD", te), Ok((Body::None, true)));
    assert_eq!(
        framed("GET", "HTTP/1.1 200 OK\r\n\r\n"),
        Ok((Body::UntilClose, false))
    );
    assert_eq!(
        framed("GET", "HTTP/1.1 204 \r\nContent-Length: 9\r\n\r\n"),
        Ok((Body::None, true))
    );
    assert_eq!(
        framed("GET", "HTTP/1.1 304\r\nContent-Length: 9\r\n\r\n"),
        Ok((Body::None, true))
    );
    assert_eq!(
        framed("GET", "HTTP/1.1 101 S\r\nUpgrade: foo\r\n\r\n"),
        Ok((Body::Tunnel, false))
    );
    assert!(framed("GET", "HTTP/1.1 101 S\r\n\r\n").is_err());
    assert_eq!(
        framed("CONNECT", "HTTP/1.1 200 S\r\n\r\n"),
        Ok((Body::Tunnel, false))
    );
    assert!(
        framed(
            "GET",
            "HTTP/1.1 200 K\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
        )
        .is_err()
    );
}

#[test]
fn status_lines_that_are_none_are_refused() {
    for text in [
        "garbage\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "ICY",
    ] {
        let parsed = parse_response(
            text.as_bytes(),
            &ParseOptions::default(),
            &mut Head::default(),
        );
        assert!(parsed.is_err(), "{text:?} gave {parsed:?}");
    }
}

#[test]
fn edits_cannot_add_lines() {
    let mut head = request("GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("parses");
    head.append(b"X", b"a\r\nEvil: 1");
    head.set_target(b"/a b\r\nc");
    head.set_method(b"G ET");
    let out = written(&head);
    assert_eq!(out.matches("\r\n").count(), 4, "{out:?}");
    assert_eq!(
        out.lines().next().map(|l| l.split(' ').count()),
        Some(3),
        "{out:?}"
    );
}

#[test]
fn edits_show_in_the_order_of_the_lines() {
    let mut head = request("GET /x HTTP/1.1\r\nA: 1\r\nB: 2\r\nA: 3\r\nC: 4\r\n\r\n").expect("ok");
    assert_eq!(head.remove(b"b"), 1);
    head.rewrite_values(b"a", |v| (v == b"3").then(|| b"three".to_vec()));
    head.set(b"D", b"5");
    head.set_version(Version::Http10);
    assert_eq!(
        written(&head),
        "GET /x HTTP/1.0\r\nA: 1\r\nA: three\r\nC: 4\r\nD: 5\r\n\r\n"
    );
}

#[test]
fn items_respect_quotes_and_skip_empty_ones() {
    let head = request("GET / HTTP/1.1\r\nX: a, \"b,c\" ,, d\r\nX: e\r\n\r\n").expect("parses");
    let items: Vec<_> = head.items(b"x").collect();
    assert_eq!(items, [&b"a"[..], b"\"b,c\"", b"d", b"e"]);
}

fn scan_in_pieces(body: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), u16> {
    let mut decoder = Decoder::new();
    let mut out = Vec::new();
    let mut at = 0;
    let mut done = false;
    let ends = cuts.iter().copied().chain([body.len()]);
    for end in ends {
        let end = end.clamp(at, body.len());
        let mut cleaned = Vec::new();
        let piece = &body[at..end];
        let scan = decoder.scan(piece, &mut cleaned).map_err(|e| e.status())?;
        out.extend_from_slice(if scan.as_is {
            &piece[..scan.consumed]
        } else {
            &cleaned
        });
        at += scan.consumed;
        done = scan.done;
        if done {
            break;
        }
    }
    Ok((out, at, done))
}

#[test]
fn chunk_extensions_are_left_out_and_trailers_kept() {
    let body = b"3;a=b\r\nabc\r\n2 \r\nde\r\n0;x\r\nT: 1\r\n\r\nnext";
    let (out, used, done) = scan_in_pieces(body, &[]).expect("valid");
    assert_eq!(out, b"3\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n");
    assert!(done && used == body.len() - 4);
    let mut payload = Vec::new();
    Decoder::new().payload(body, &mut payload).expect("valid");
    assert_eq!(payload, b"abcde");
}

#[test]
fn malformed_chunks_are_refused() {
    for body in [
        &b"x\r\n"[..],
        b"\r\n",
        b"3\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x3\r\nabc\r\n",
        b"fffffffffffffffff\r\n",
        b"8000000000000000\r\n",
        b"3\r\nabc\n0\r\n",
        b"0\r\nContent-Length: 3\r\n\r\n",
        b"0\r\nbad name: 1\r\n\r\n",
        b"0\r\n\rx",
        b" 3\r\nabc\r\n",
        b"3;a\nb\r\nabc\r\n",
    ] {
        assert!(
            scan_in_pieces(body, &[]).is_err(),
            "{:?}",
            String::from_utf8_lossy(body)
        );
    }
}

proptest! {
    #[test]
    fn any_split_of_a_chunked_body_gives_the_same_result(
        chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), any::<bool>()), 0..6),
        cuts in prop::collection::vec(0usize..400, 0..8),
    ) {
        let mut body = Vec::new();
        for (data, extension) in &chunks {
            body.extend_from_slice(format!("{:x}{}\r\n", data.len(), if *extension { ";e=\"1\"" } else { "" }).as_bytes());
            body.extend_from_slice(data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nA: b\r\n\r\n");
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(scan_in_pieces(&body, &cuts), scan_in_pieces(&body, &[]));
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same_chunks(
        body in prop::collection::vec(prop::sample::select(&b"0123;a \r\n\t:x"[..]), 0..40),
        cut in 0usize..40,
    ) {
        let whole = scan_in_pieces(&body, &[]).ok();
        let split = scan_in_pieces(&body, &[cut]).ok();
        prop_assert_eq!(whole, split);
    }

    #[test]
    fn no_bytes_panic_and_what_is_written_reads_back_the_same(
        bytes in prop::collection::vec(prop::sample::select(&b"GETPOSThtp/1.0:, \r\n\t\0ab?#*;=\x80"[..]), 0..120),
    ) {
        let options = ParseOptions { accept_unsafe: true, ..ParseOptions::default() };
        let mut text = b"GET / HTTP/1.1\r\n".to_vec();
        text.extend_from_slice(&bytes);
        text.extend_from_slice(b"\r\n\r\n");
        for input in [&bytes, &text] {
            let mut head = Head::default();
            if let Ok(Some(_)) = parse_request(input, &options, &mut head) {
                let mut out = Vec::new();
                let _ = framing::request(&mut head, framing::Tolerance::default());
                head.write_to(&mut out);
                let mut again = Head::default();
                let used = parse_request(&out, &options, &mut again).expect("readable");
                prop_assert_eq!(used, Some(out.len()));
                let fields = |h: &Head| h.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect::<Vec<_>>();
                prop_assert_eq!(fields(&head), fields(&again));
            }
            let _ = parse_response(input, &options, &mut head);
        }
    }

    #[test]
    fn a_head_is_complete_at_its_last_byte_and_not_before(value in "[ -~]{0,30}", name in "[a-zA-Z-]{1,12}") {
        let text = format!("GET /p HTTP/1.1\r\n{name}: {value}\r\n\r\n");
        for end in 0..text.len() {
            let parsed = parse_request(&text.as_bytes()[..end], &ParseOptions::default(), &mut Head::default());
            prop_assert_eq!(parsed, Ok(None), "at {}", end);
        }
        let mut head = Head::default();
        let parsed = parse_request(text.as_bytes(), &ParseOptions::default(), &mut head);
        prop_assert_eq!(parsed, Ok(Some(text.len())));
        prop_assert_eq!(head.get(name.as_bytes()), Some(value.trim_matches([' ', '\t']).as_bytes()));
    }
}

/// Parts of which requests that smuggle are made.
const PARTS: [&str; 44] = [
    "GET ",
    "POST ",
    "/",
    "/a",
    "*",
    "http://x",
    " HTTP/1.1",
    " HTTP/1.0",
    "\r\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "\t",
    "\u{b}",
    ":",
    ": ",
    ",",
    ";",
    "\"",
    "Host: x\r\n",
    "Host",
    "Content-Length",
    "content-length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:\tchunked\r\n",
    "chunked",
    "xchunked",
    "identity",
    "3",
    "0",
    "+",
    "-",
    "0x",
    "\u{e9}",
    "X: 1\r\n",
    "Connection: close\r\n",
    "Upgrade: h2c\r\n",
    "Connection: upgrade\r\n",
];

/// How the most careful reader takes a head apart; anything it could doubt is an error.
fn read_strictly(text: &str) -> Result<Body, &'static str> {
    let head = text.strip_suffix("\r\n\r\n").ok_or("no end")?;
    if head.contains("\r\n\r\n") {
        return Err("an end inside");
    }
    let mut lines = head.split("\r\n");
    let first: Vec<&str> = lines.next().unwrap_or("").split(' ').collect();
    if first.len() != 3 || first.iter().any(|p| p.is_empty()) {
        return Err("a request line of other than three parts");
    }
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    for line in lines {
        if line.contains(['\r', '\n', '\0']) {
            return Err("a line end inside a line");
        }
        let (name, value) = line.split_once(':').ok_or("no colon")?;
        if name.is_empty()
            || !name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        {
            return Err("a name that is no token");
        }
        let known = ["content-length", "transfer-encoding", "host", "connection"];
        let value = value.strip_prefix(' ').unwrap_or(value);
        if known.contains(&name.to_ascii_lowercase().as_str())
            && value.trim_matches([' ', '\t']) != value
        {
            return Err("white space around what frames");
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value),
            "transfer-encoding" => codings.push(value),
            _ => {}
        }
    }
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Body::None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Body::Chunked),
        ([n], []) if n.bytes().all(|b| b.is_ascii_digit()) => match n.parse() {
            Ok(0) => Ok(Body::None),
            Ok(n) => Ok(Body::Length(n)),
            Err(_) => Err("a length too large"),
        },
        _ => Err("more than one framing"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn what_goes_to_a_server_has_one_reading_and_it_is_ours(
        parts in prop::collection::vec(prop::sample::select(&PARTS[..]), 0..14),
        start in prop::bool::weighted(0.8),
    ) {
        let mut text = String::new();
        if start {
            text.push_str("POST /a HTTP/1.1\r\n");
        }
        text.extend(parts);
        text.push_str("\r\n\r\n");
        let mut head = Head::default();
        let parsed = parse_request(text.as_bytes(), &ParseOptions::default(), &mut head);
        if matches!(parsed, Ok(Some(_)))
            && let Ok(framed) = framing::request(&mut head, framing::Tolerance::default())
        {
            let out = written(&head);
            prop_assert_eq!(read_strictly(&out), Ok(framed.body), "{:?}", out);
        }
    }
}

/// Parts of which chunked bodies are made, good and bad.
const CHUNKS: [&str; 26] = [
    "3\r\nabc\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\n",
    "\r\n",
    "\n",
    "\r",
    "3",
    "00",
    "a",
    "F",
    ";x=y",
    ";\"\r\n\"",
    ";",
    " ",
    "\t",
    "+",
    "0x",
    "-",
    "abc",
    "X: 1\r\n",
    "Content-Length: 3\r\n",
    "X : 1\r\n",
    "\0",
    ":",
    "\u{e9}",
];

/// The payload, read by the strictest of readers.
fn unchunk(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut payload = Vec::new();
    let line = |text: &[u8]| text.windows(2).position(|w| w == b"\r\n");
    loop {
        let end = line(text)?;
        let digits = std::str::from_utf8(&text[..end]).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let size = usize::from_str_radix(digits, 16).ok()?;
        text = &text[end + 2..];
        if size == 0 {
            break;
        }
        payload.extend_from_slice(text.get(..size)?);
        text = text.get(size..)?.strip_prefix(b"\r\n")?;
    }
    loop {
        let end = line(text)?;
        let (trailer, rest) = (&text[..end], &text[end + 2..]);
        text = rest;
        if trailer.is_empty() {
            return text.is_empty().then_some(payload);
        }
        if trailer.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) || !trailer.contains(&b':') {
            return None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn chunks_that_are_passed_on_have_one_reading_and_it_is_ours(
        parts in prop::collection::vec(prop::sample::select(&CHUNKS[..]), 0..8),
        end in prop::bool::weighted(0.7),
    ) {
        let mut text = parts.concat();
        if end {
            text.push_str("0\r\n\r\n");
        }
        let (mut decoder, mut cleaned) = (Decoder::new(), Vec::new());
        if let Ok(scan) = decoder.scan(text.as_bytes(), &mut cleaned)
            && scan.done
        {
            let out = if scan.as_is { &text.as_bytes()[..scan.consumed] } else { &cleaned[..] };
            let mut payload = Vec::new();
            let again = Decoder::new().payload(text.as_bytes(), &mut payload);
            prop_assert!(again.is_ok_and(|s| s.done && s.consumed == scan.consumed));
            prop_assert_eq!(unchunk(out), Some(payload), "{:?}", String::from_utf8_lossy(out));
        }
    }
}
