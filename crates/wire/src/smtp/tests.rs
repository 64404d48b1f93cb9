use super::*;
use proptest::prelude::*;

fn mail(line: &str) -> Result<(String, String), Fault> {
    match Command::read(line.as_bytes())? {
        Command::Mail(path, _) | Command::Rcpt(path, _) => {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            Ok((text(path.address), text(path.domain)))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn senders_and_recipients_are_read_as_rfc_5321_writes_them() {
    let good = |line: &str, address: &str, domain: &str| {
        assert_eq!(mail(line), Ok((address.into(), domain.into())), "{line}");
    };
    good("MAIL FROM:<>", "", "");
    good("mail from:<a@b.example>", "a@b.example", "b.example");
    good("MAIL FROM: <a@b.example> ", "a@b.example", "b.example");
    good(
        "MAIL FROM:<a@b.example> SIZE=1 BODY=8BITMIME",
        "a@b.example",
        "b.example",
    );
    good("RCPT TO:<@one.example,@two.example:a@b>", "a@b", "b");
    good("RCPT TO:<Postmaster>", "Postmaster", "");
    good(
        "RCPT TO:<\"a@b> \\\" c\"@[192.0.2.1]>",
        "\"a@b> \\\" c\"@[192.0.2.1]",
        "[192.0.2.1]",
    );
    good(
        "RCPT TO:<a@[IPv6:2001:db8::1]>",
        "a@[IPv6:2001:db8::1]",
        "[IPv6:2001:db8::1]",
    );
    good("RCPT TO:<ü@ü.example>", "ü@ü.example", "ü.example");
    good("RCPT TO:<a+b=c/d%e@b>", "a+b=c/d%e@b", "b");
    for line in [
        "RCPT TO:<>",
        "RCPT TO:<a>",
        "RCPT TO:a@b",
        "RCPT TO:<a@b",
        "RCPT TO:<a@b>x",
        "RCPT TO:<a@>",
        "RCPT TO:<@b>",
        "RCPT TO:<a..b@c>",
        "RCPT TO:<.a@c>",
        "RCPT TO:<a b@c>",
        "RCPT TO:<a@b..c>",
        "RCPT TO:<a@b.>",
        "RCPT TO:<a@b c>",
        "RCPT TO:<\"a@b>",
        "RCPT TO:<\"a\"b\"@c>",
        "RCPT TO:<a\tb@c>",
        "RCPT TO:<a@b> =1",
        "RCPT TO:<a@b> X=",
        "RCPT TO:<a@b>  X\ty=1",
        "RCPT FROM:<a@b>",
        "RCPT",
        "MAIL FROM:<postmaster>",
    ] {
        assert!(mail(line).is_err(), "{line}");
    }
    let long = format!("RCPT TO:<{}@b>", "a".repeat(65));
    assert!(mail(&long).is_err());
    let long = format!("RCPT TO:<a@{}>", vec!["b".repeat(63); 4].join("."));
    assert!(mail(&long).is_err());
}

#[test]
fn commands_are_known_by_their_verbs_and_want_what_they_want() {
    let read = |line: &'static str| Command::read(line.as_bytes());
    assert_eq!(read("ehlo me.example"), Ok(Command::Ehlo(b"me.example")));
    assert_eq!(read("HELO [192.0.2.1]"), Ok(Command::Helo(b"[192.0.2.1]")));
    assert_eq!(read("EHLO under_score"), Ok(Command::Ehlo(b"under_score")));
    assert_eq!(read("EHLO"), Err(Fault::Name));
    assert_eq!(read("EHLO two words"), Err(Fault::Name));
    assert_eq!(read("EHLO <script>"), Err(Fault::Name));
    assert_eq!(read("DATA"), Ok(Command::Data));
    assert_eq!(read("DATA now"), Err(Fault::Argument));
    assert_eq!(read("NOOP anything"), Ok(Command::Noop));
    assert_eq!(read("QUIT "), Ok(Command::Quit));
    assert_eq!(read("VRFY"), Err(Fault::Argument));
    assert_eq!(read("EXPN list"), Ok(Command::Verify));
    assert_eq!(read("XCLIENT ADDR=192.0.2.1"), Err(Fault::NotOffered));
    let plain = b"PLAIN".as_slice();
    let login = |response| Ok(Command::Auth(plain, response));
    assert_eq!(read("AUTH PLAIN AAA"), login(Some(b"AAA")));
    assert_eq!(read("auth PLAIN ="), login(Some(b"=")));
    assert_eq!(read("AUTH PLAIN"), login(None));
    for wrong in [
        "AUTH",
        "AUTH P.N",
        "AUTH PLAIN A=A",
        "AUTH PLAIN A B",
        "AUTH PLAIN ===",
    ] {
        assert_eq!(read(wrong), Err(Fault::Argument), "{wrong}");
    }
    assert_eq!(read("BDAT 5 LAST"), Err(Fault::NotOffered));
    assert_eq!(read("GET / HTTP/1.1"), Err(Fault::Web));
    assert_eq!(read("GETS"), Err(Fault::Unknown));
    assert_eq!(read(""), Err(Fault::Unknown));
    assert_eq!(read("DATAX"), Err(Fault::Unknown));
}

#[test]
fn parameters_go_to_servers_that_know_them() {
    let line = b"MAIL FROM:<a@b> SIZE=12 BODY=7BIT RET=FULL ENVID=a=b SMTPUTF8";
    let Ok(Command::Mail(_, parameters)) = Command::read(line) else {
        panic!("no sender");
    };
    assert_eq!(parameters.size(), Some(12));
    assert!(parameters.international());
    assert_eq!(parameters.unknown(|_| true), None);
    let without = |left_out| parameters.unknown(move |e| e != left_out);
    assert_eq!(without(Extension::Dsn), Some(b"RET".as_slice()));
    assert_eq!(without(Extension::EightBitMime), Some(b"BODY".as_slice()));
    let written = |known: &dyn Fn(Extension) -> bool| {
        let mut out = Vec::new();
        parameters.write(known, &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(
        written(&|_| true),
        " SIZE=12 BODY=7BIT RET=FULL ENVID=a=b SMTPUTF8"
    );
    assert_eq!(written(&|_| false), " RET=FULL ENVID=a=b SMTPUTF8");
    let Ok(Command::Mail(_, huge)) = Command::read(b"MAIL FROM:<> SIZE=99999999999999999999999")
    else {
        panic!("no sender");
    };
    assert_eq!(huge.size(), Some(u64::MAX));
}

#[test]
fn a_line_ends_in_both_characters_and_holds_neither() {
    let whole = |length, end| Line::Whole { length, end };
    assert_eq!(line(b"QUIT\r\nX", false, LONGEST_COMMAND), whole(4, 2));
    assert_eq!(line(b"QUIT\r", false, LONGEST_COMMAND), Line::More);
    assert_eq!(line(b"QUIT\n", false, LONGEST_COMMAND), Line::Malformed);
    assert_eq!(line(b"QUIT\n", true, LONGEST_COMMAND), whole(4, 1));
    assert_eq!(line(b"QU\rIT\r\n", true, LONGEST_COMMAND), Line::Malformed);
    assert_eq!(line(b"QU\0IT\r\n", true, LONGEST_COMMAND), Line::Malformed);
    assert_eq!(
        line(&[b'a'; LONGEST_COMMAND - 1], false, LONGEST_COMMAND),
        Line::More
    );
    assert_eq!(
        line(&[b'a'; LONGEST_COMMAND], false, LONGEST_COMMAND),
        Line::TooLong
    );
}

#[test]
fn replies_are_read_to_their_last_line() {
    let heard = |text: &str| hear(text.as_bytes());
    let Heard::Reply(reply, length) =
        heard("250-mx.example\r\n250-SIZE 100\r\n250-XCLIENT ADDR port\r\n250 STARTTLS\r\n354 x")
    else {
        panic!("no reply");
    };
    assert_eq!((reply.code, length, reply.lines.len()), (250, 67, 4));
    let capabilities = reply.capabilities();
    assert!(capabilities.has(Extension::Size) && !capabilities.has(Extension::Dsn));
    assert!(capabilities.start_tls);
    assert_eq!(
        capabilities.xclient,
        Some(vec!["ADDR".into(), "PORT".into()])
    );
    let mut written = Vec::new();
    reply.write(&mut written);
    assert_eq!(
        written,
        b"250-mx.example\r\n250-SIZE 100\r\n250-XCLIENT ADDR port\r\n250 STARTTLS\r\n"
    );
    assert_eq!(heard("250-a\r\n"), Heard::More);
    assert_eq!(heard("250"), Heard::More);
    assert!(matches!(heard("250\n"), Heard::Reply(_, 4)));
    for text in [
        "hello\r\n",
        "250-a\r\n251 b\r\n",
        "199 x\r\n",
        "600 x\r\n",
        "250x\r\n",
        "2 0 x\r\n",
        "\r\n",
    ] {
        assert_eq!(heard(text), Heard::Malformed, "{text:?}");
    }
    assert_eq!(hear(&[b'2'; 40_000]), Heard::Malformed);
}

/// All that comes out, and where the message ended.
fn fed(lenient: bool, pieces: &[&[u8]]) -> (Vec<u8>, Ending) {
    let mut content = Content::new(lenient);
    let mut out = Vec::new();
    for piece in pieces {
        match content.feed(piece, &mut out) {
            Ending::Open => {}
            ending => return (out, ending),
        }
    }
    (out, Ending::Open)
}

#[test]
fn a_message_ends_at_one_sequence_only() {
    let ends = |text: &str| fed(false, &[text.as_bytes()]).1;
    assert_eq!(ends(".\r\nQUIT"), Ending::At(3));
    assert_eq!(ends("a\r\n.\r\nQUIT"), Ending::At(6));
    assert_eq!(ends("a\r\n..\r\n.b\r\n"), Ending::Open);
    for text in [
        "a\n.\r\n",
        "a\n.\n",
        "a\r\n.\n",
        "a\r.\r",
        "a\r\n.\r",
        "a\r\n.\r.",
        "a\r.\r\n",
        "a\r\n\0.\r\n",
        "a\r\n.\0\r\n",
        "a\r\n.\r\0\n",
        "a\r\r\n.\r\n",
        ".\n",
    ] {
        let (out, ending) = fed(false, &[text.as_bytes()]);
        assert!(!matches!(ending, Ending::At(_)), "{text:?}");
        assert!(!out.ends_with(b"\r\n.\r\n"), "{text:?}");
    }
}

#[test]
fn what_is_normalized_ends_where_it_should_and_nowhere_else() {
    let made = |text: &str| {
        let (out, ending) = fed(true, &[text.as_bytes()]);
        (String::from_utf8(out).expect("text"), ending)
    };
    assert_eq!(
        made("a\nb\r\n.\r\n"),
        ("a\r\nb\r\n.\r\n".into(), Ending::At(8))
    );
    assert_eq!(made("a\n.\r\nb"), ("a\r\n..\r\nb".into(), Ending::Open));
    assert_eq!(made("a\n.\nb"), ("a\r\n..\r\nb".into(), Ending::Open));
    assert_eq!(made("a\r\n.\nb"), ("a\r\n..\r\nb".into(), Ending::Open));
    assert_eq!(made("a\rb\r\r\n"), ("a b \r\n".into(), Ending::Open));
    assert_eq!(made("\r\n.\rb"), ("\r\n. b".into(), Ending::Open));
    assert_eq!(made("\n..\n"), ("\r\n..\r\n".into(), Ending::Open));
    assert_eq!(made("\0.\r\n"), (" .\r\n".into(), Ending::Open));
    assert_eq!(made("a\r\n.\0\r\n"), ("a\r\n. \r\n".into(), Ending::Open));
}

#[test]
fn a_message_is_as_long_as_its_server_will_find_it() {
    let length = |lenient, text: &str| {
        let mut content = Content::new(lenient);
        content.feed(text.as_bytes(), &mut Vec::new());
        content.length()
    };
    for lenient in [false, true] {
        assert_eq!(length(lenient, ".\r\n"), 0);
        assert_eq!(length(lenient, "abc\r\n.\r\nQUIT\r\n"), 5);
        assert_eq!(length(lenient, "..\r\n.x\r\n\r\n.\r\n"), 3 + 3 + 2);
    }
    assert_eq!(length(true, "a\n.\nb\r.\r\n.\rc\r\n"), 3 + 3 + 5 + 4);
}

/// Text in which line ends and dots are frequent.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(b"\r\n\r\n\r\n..ab\0".to_vec()), 0..60)
}

proptest! {
    /// However content comes in pieces, the same goes out; the server sees an end only as the last
    /// of it, and no line feed or carriage return alone.
    #[test]
    fn no_piece_of_content_ends_a_message_early(bytes in content(), lenient: bool, cut in 0usize..60) {
        let (out, ending) = fed(lenient, &[&bytes]);
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let (again, other) = fed(lenient, &[first, second]);
        prop_assert_eq!(&out, &again);
        // Where it ended is counted from the last piece.
        let ended = |e: Ending| matches!(e, Ending::At(_));
        prop_assert_eq!((ended(ending), ending == Ending::Bare), (ended(other), other == Ending::Bare));
        let framed = [b"\r\n".as_slice(), &out].concat();
        let end = framed.windows(5).position(|w| w == b"\r\n.\r\n");
        match ending {
            Ending::At(_) => prop_assert_eq!(end, Some(framed.len() - 5)),
            _ => prop_assert_eq!(end, None),
        }
        for (at, byte) in framed.iter().enumerate() {
            match byte {
                b'\n' => prop_assert_eq!(framed.get(at.wrapping_sub(1)), Some(&b'\r')),
                b'\r' if at + 1 < framed.len() => prop_assert_eq!(framed.get(at + 1), Some(&b'\n')),
                _ => {}
            }
        }
        if !lenient && ending != Ending::Bare {
            prop_assert!(bytes.starts_with(&out));
        }
    }

    /// What is understood of an address is written so that it is understood again in the same way,
    /// and never holds more than one line.
    #[test]
    fn an_address_that_is_taken_is_one_address(inner in "[a-c@\"\\\\<>., \r\n\u{e4}\\[\\]:;]{0,20}") {
        let line = format!("RCPT TO:<{inner}>");
        if let Ok(Command::Rcpt(path, _)) = Command::read(line.as_bytes()) {
            prop_assert!(!path.address.iter().any(|b| b.is_ascii_control()));
            let again = [b"RCPT TO:<", path.address, b">"].concat();
            let read = Command::read(&again);
            let Ok(Command::Rcpt(second, rest)) = read else {
                return Err(TestCaseError::fail(format!("{again:?}")));
            };
            prop_assert_eq!(path, second);
            prop_assert_eq!(rest.all().count(), 0);
        }
    }

    #[test]
    fn a_reply_is_written_as_it_was_read(code in 200u16..600, lines in prop::collection::vec("[ -~]{0,20}", 1..5)) {
        let reply = Reply { code, lines: lines.into_iter().map(String::into_bytes).collect() };
        let mut written = Vec::new();
        reply.write(&mut written);
        prop_assert_eq!(hear(&written), Heard::Reply(reply, written.len()));
        for cut in 0..written.len() {
            prop_assert_eq!(hear(&written[..cut]), Heard::More);
        }
    }
}
