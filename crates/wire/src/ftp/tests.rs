use super::*;
use proptest::prelude::*;

#[test]
fn commands_are_known_in_any_case_and_behind_telnet() {
    let read = |line: &'static [u8]| command(line).expect("a command");
    assert_eq!(read(b"user alice\r\n").verb, Verb::User);
    assert_eq!(read(b"USER  alice \r\n").argument, b"alice");
    assert_eq!(read(b"retr a b\n").argument, b"a b");
    assert_eq!(read(b"RETR a b\r\n").verb, Verb::Transfer);
    assert_eq!(read(b"SITE CHMOD 644 x\r\n").verb, Verb::Other);
    let abort = read(b"\xff\xf4\xff\xf2ABOR\r\n");
    assert_eq!((abort.verb, abort.text), (Verb::Abor, &b"ABOR"[..]));
    assert_eq!(read(b"\xff\xf4\xffABOR\r\n").verb, Verb::Abor);
    assert_eq!(read(b"\r\n").verb, Verb::Unfit);
    assert_eq!(read(b"USERS x\r\n").verb, Verb::Other);
}

#[test]
fn a_line_within_a_line_is_refused() {
    for line in [&b"USER a\rPASS b\r\n"[..], b"USER a\0\r\n", b"RETR \r\r\n"] {
        assert_eq!(command(line), Err(Malformed), "{line:?}");
    }
}

#[test]
fn replies_end_where_their_code_stands_before_a_space() {
    let mut replies = Replies::default();
    let mut read = |line: &[u8]| {
        let l = replies.line(line).expect("a line of a reply");
        (l.code, l.first, l.last)
    };
    assert_eq!(read(b"220 hello\r\n"), (220, true, true));
    assert_eq!(read(b"211-Features:\r\n"), (211, true, false));
    assert_eq!(read(b" EPSV\r\n"), (211, false, false));
    assert_eq!(read(b"211-more\r\n"), (211, false, false));
    assert_eq!(read(b"200 of another\r\n"), (211, false, false));
    assert_eq!(read(b"211 End\r\n"), (211, false, true));
    assert_eq!(read(b"226\r\n"), (226, true, true));
}

#[test]
fn what_is_no_reply_is_refused() {
    for line in [
        &b"hello\r\n"[..],
        b"22\r\n",
        b"2200 x\r\n",
        b"720 x\r\n",
        b"\r\n",
    ] {
        assert_eq!(Replies::default().line(line), Err(Malformed), "{line:?}");
    }
}

#[test]
fn addresses_are_read_where_they_stand() {
    let here = "192.0.2.7:50010".parse().expect("an address");
    assert_eq!(port(b"192,0,2,7,195,90"), Some(here));
    for wrong in [
        &b"192,0,2,7,195"[..],
        b"192,0,2,7,256,1",
        b"192,0,2,7,1,2,3",
        b"a",
        b"",
        b"+1,0,2,7,1,2",
    ] {
        assert_eq!(port(wrong), None, "{wrong:?}");
    }
    assert_eq!(extended_port(b"|1|192.0.2.7|50010|"), Ok(here));
    let there = "[2001:db8::1]:6446".parse().expect("an address");
    assert_eq!(extended_port(b"!2!2001:db8::1!6446!"), Ok(there));
    assert_eq!(extended_port(b"|2|192.0.2.7|50010|"), Err(Unusable::Syntax));
    assert_eq!(extended_port(b"|3|x|50010|"), Err(Unusable::Protocol));
    assert_eq!(extended_port(b"|1|192.0.2.7|99999|"), Err(Unusable::Syntax));
    assert_eq!(extended_port(b"1,192.0.2.7,1"), Err(Unusable::Syntax));
    assert_eq!(extended_passive(b""), Ok(ExtendedPassive::Port));
    assert_eq!(extended_passive(b"all"), Ok(ExtendedPassive::All));
    assert_eq!(extended_passive(b"3"), Err(Unusable::Protocol));
    assert_eq!(extended_passive(b"x"), Err(Unusable::Syntax));
}

#[test]
fn passive_ports_are_found_in_what_servers_say() {
    assert_eq!(
        passive_port(b"227 Entering Passive Mode (10,0,0,1,195,90).\r\n"),
        Some(50010)
    );
    assert_eq!(passive_port(b"227 =10,0,0,1,195,90\r\n"), Some(50010));
    assert_eq!(passive_port(b"227 5 of 10,0,0,1,195,90\r\n"), Some(50010));
    assert_eq!(passive_port(b"227 Entering Passive Mode\r\n"), None);
    assert_eq!(passive_port(b"227 (10,0,0,1,0,0)\r\n"), None);
    assert_eq!(
        extended_passive_port(b"229 Entering (|||6446|)\r\n"),
        Some(6446)
    );
    assert_eq!(extended_passive_port(b"229 (!!!6446!)\r\n"), Some(6446));
    for wrong in [
        &b"229 (|||)\r\n"[..],
        b"229 (|1|::1|6446|)\r\n",
        b"229 (|||0|)\r\n",
        b"229 ok\r\n",
    ] {
        assert_eq!(extended_passive_port(wrong), None, "{wrong:?}");
    }
}

#[test]
fn features_are_named_in_indented_lines() {
    assert_eq!(feature(b" AUTH TLS\r\n"), Some(&b"AUTH"[..]));
    assert_eq!(feature(b" EPSV\r\n"), Some(&b"EPSV"[..]));
    assert_eq!(feature(b"211 End\r\n"), None);
}

/// Bytes near to what FTP says.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just(b"227 (".to_vec()),
        Just(b"211-".to_vec()),
        Just(b"EPRT |1|".to_vec()),
        Just(b"\xff\xf4".to_vec()),
        Just(b"|||".to_vec()),
        Just(b",255,".to_vec()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
        "[0-9,|.:() ]{0,12}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(word, 0..8).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn ports_come_back_as_they_were_written(ip in any::<[u8; 4]>(), number in 1..=u16::MAX) {
        let reply = passive_reply(ip.into(), number);
        prop_assert_eq!(passive_port(reply.as_bytes()), Some(number));
        let reply = extended_passive_reply(number);
        prop_assert_eq!(extended_passive_port(reply.as_bytes()), Some(number));
        let [high, low] = number.to_be_bytes();
        let [a, b, c, d] = ip;
        let argument = format!("{a},{b},{c},{d},{high},{low}");
        prop_assert_eq!(port(argument.as_bytes()), Some((ip, number).into()));
    }

    #[test]
    fn extended_addresses_come_back_as_they_were_written(addr in any::<SocketAddr>()) {
        let kind = if addr.is_ipv4() { 1 } else { 2 };
        let argument = format!("|{kind}|{}|{}|", addr.ip(), addr.port());
        let read = extended_port(argument.as_bytes()).expect("an address");
        prop_assert_eq!((read.ip(), read.port()), (addr.ip(), addr.port()));
    }

    #[test]
    fn nothing_that_comes_does_harm(bytes in near()) {
        let mut replies = Replies::default();
        let mut rest = &bytes[..];
        while let Some(end) = line(rest) {
            let (one, more) = rest.split_at(end);
            if let Ok(command) = command(one) {
                prop_assert!(!command.text.contains(&b'\r') && !command.text.contains(&b'\n'));
                let _ = (port(command.argument), extended_port(command.argument));
                let _ = extended_passive(command.argument);
            }
            let _ = (replies.line(one), passive_port(one), extended_passive_port(one), feature(one));
            rest = more;
        }
        let _ = (command(&bytes), Replies::default().line(&bytes));
    }
}

#[test]
fn a_name_that_servers_may_read_otherwise_is_none() {
    for line in [
        &b" PORT 10,0,0,9,4,1\r\n"[..],
        b"PORT\t10,0,0,9,4,1\r\n",
        b"PO\xff\xf1RT 10,0,0,9,4,1\r\n",
        b"\r\n",
    ] {
        let read = command(line).map(|c| c.verb);
        assert_eq!(read, Ok(Verb::Unfit), "{line:?}");
    }
    assert_eq!(command(b"SITE HELP\r\n").map(|c| c.verb), Ok(Verb::Other));
}
