use super::*;
use proptest::prelude::*;

/// What comes of these pieces, an empty one being the end, and what was said meanwhile.
fn talk(question: Question<'_>, pieces: &[&[u8]]) -> (Option<Verdict>, Vec<Vec<u8>>) {
    let (mut conversation, first) = Conversation::new(question);
    let mut said = vec![first];
    for piece in pieces {
        match conversation.hear(piece) {
            Next::More => {}
            Next::Say(bytes) => said.push(bytes),
            Next::End(verdict) => return (Some(verdict), said),
        }
    }
    (None, said)
}

fn ends(question: Question<'_>, pieces: &[&[u8]]) -> (Outcome, u32, String) {
    let verdict = talk(question, pieces).0.expect("an end");
    (verdict.outcome, verdict.code, verdict.text)
}

fn told(outcome: Outcome, code: u32, text: &str) -> (Outcome, u32, String) {
    (outcome, code, text.into())
}

#[test]
fn redis_answers_pong_or_says_why_not() {
    let ask = |pieces: &[&[u8]]| ends(Question::Redis, pieces);
    let ok = told(Outcome::Passed, 0, "Redis server is ok");
    assert_eq!(ask(&[b"+PONG\r\n"]), ok);
    assert_eq!(ask(&[b"+PO", b"NG\r", b"\n"]), ok);
    let why = "-NOAUTH Authentication required.";
    assert_eq!(
        ask(&[b"-NOAUTH Authentication required.\r\n"]),
        told(Outcome::Status, 0, why)
    );
    assert_eq!(ask(&[b"+PO", b""]), told(Outcome::Status, 0, "+PO"));
    assert_eq!(
        ask(&[b""]),
        told(Outcome::Status, 0, "TCPCHK got an empty response at step 2")
    );
}

#[test]
fn smtp_is_greeted_and_left_politely() {
    let question = Question::Smtp("EHLO a.example");
    let (verdict, said) = talk(
        question,
        &[
            b"220-a\r\n220 ",
            b"b\r\n",
            b"250-x\r\n250 y\r\n",
            b"221 bye\r\n",
        ],
    );
    let wanted: [&[u8]; 3] = [b"", b"EHLO a.example\r\n", b"QUIT\r\n"];
    assert_eq!(said, wanted);
    let verdict = verdict.expect("an end");
    assert_eq!((verdict.outcome, verdict.code), (Outcome::Passed, 221));
    assert_eq!(
        ends(question, &[b"554 no\r\n"]),
        told(Outcome::Status, 554, "no")
    );
    assert_eq!(
        ends(question, &[b"hello there\r\n"]),
        told(Outcome::Invalid, 0, "hello there")
    );
    assert_eq!(
        ends(question, &[b"22", b""]),
        told(Outcome::Invalid, 0, "22")
    );
}

#[test]
fn mysql_is_asked_for_its_greeting_or_logged_in_to() {
    let greeting = b"\x05\0\0\0\x0a8.0\0";
    let refused = b"\x0c\0\0\0\xff\x6a\x04no access";
    let nobody = Question::MySql {
        user: None,
        old: false,
    };
    assert_eq!(ends(nobody, &[greeting]), told(Outcome::Passed, 0, ""));
    assert_eq!(
        ends(nobody, &[refused]),
        told(Outcome::Status, 1130, "no access")
    );
    assert_eq!(ends(nobody, &[b"foobar"]), told(Outcome::Invalid, 0, ""));
    assert_eq!(
        ends(nobody, &[&greeting[..6], b""]),
        told(Outcome::Invalid, 0, "")
    );
    for (old, length) in [(false, 0x25), (true, 0x0a)] {
        let user = Some("joe");
        let question = Question::MySql { user, old };
        let (verdict, said) = talk(question, &[greeting, b"\x07\0\0\x02\0\0\0\x02\0\0\0"]);
        assert_eq!(verdict.map(|v| v.outcome), Some(Outcome::Passed));
        let login = said.last().expect("a login");
        assert_eq!(login.first(), Some(&length));
        assert!(login.ends_with(b"joe\0\0\x01\0\0\0\x01"), "{login:?}");
        assert_eq!(
            ends(question, &[greeting, refused]),
            told(Outcome::Status, 1130, "no access")
        );
        assert_eq!(
            ends(question, &[greeting, b""]),
            told(Outcome::Invalid, 0, "")
        );
    }
}

#[test]
fn postgresql_asks_for_authentication_or_refuses() {
    let question = Question::PgSql("joe");
    let (_, said) = talk(question, &[]);
    assert_eq!(said, [b"\0\0\0\x12\0\x03\0\0user\0joe\0\0".to_vec()]);
    let ok = told(Outcome::Passed, 0, "PostgreSQL server is ok");
    assert_eq!(ends(question, &[b"R\0\0\0\x08\0", b"\0\0\0"]), ok);
    assert_eq!(
        ends(question, &[b"E\0\0\0\x20SFATAL\0C28000\0"]),
        told(Outcome::Invalid, 0, "FATAL")
    );
    assert_eq!(
        ends(question, &[b"foo"]),
        told(Outcome::Status, 0, "PostgreSQL unknown error")
    );
}

#[test]
fn ldap_binds_with_lengths_of_both_forms() {
    let ask = |pieces: &[&[u8]]| ends(Question::Ldap, pieces);
    let ok = told(Outcome::Passed, 0, "");
    assert_eq!(
        ask(&[b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0"]),
        ok
    );
    let long = b"\x30\x84\0\0\0\x10\x02\x01\x01\x61\x84\0\0\0\x07\x0a\x01\0\x04\0\x04\0";
    assert_eq!(ask(&[&long[..9], &long[9..]]), ok);
    let busy = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x33\x04\0\x04\0";
    assert_eq!(ask(&[busy]).1, 51);
    let other = told(Outcome::Invalid, 0, "Not LDAPv3 protocol");
    assert_eq!(ask(&[b"foobar"]), other);
    assert_eq!(ask(&[b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\0"]), other);
    assert_eq!(ask(&[b"\x30\x0c\x02", b""]), told(Outcome::Invalid, 0, ""));
}

#[test]
fn tls_answers_with_a_handshake_or_an_alert() {
    let ask = |pieces: &[&[u8]]| ends(Question::TlsHello, pieces).0;
    assert_eq!(ask(&[b"\x16\x03\x03"]), Outcome::Tls);
    assert_eq!(ask(&[b"\x15\x03\x03"]), Outcome::Tls);
    assert_eq!(ask(&[b"HTTP/1.1 400"]), Outcome::NoTls);
    assert_eq!(ask(&[b""]), Outcome::NoTls);
    let hello = tls::hello();
    let record = u16::from_be_bytes([hello[3], hello[4]]);
    assert_eq!(usize::from(record) + 5, hello.len());
}

proptest! {
    #[test]
    fn no_bytes_break_a_conversation_and_each_ends(
        which in 0usize..7,
        pieces in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..40), 0..20,
        ),
    ) {
        let user = Some("joe");
        let question = [
            Question::Redis,
            Question::Smtp("HELO a"),
            Question::MySql { user: None, old: false },
            Question::MySql { user, old: true },
            Question::PgSql("joe"),
            Question::Ldap,
            Question::TlsHello,
        ][which];
        let mut pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        // Silence ends every conversation, whatever was said last.
        pieces.extend([&b""[..]; 4]);
        prop_assert!(talk(question, &pieces).0.is_some());
    }
}
