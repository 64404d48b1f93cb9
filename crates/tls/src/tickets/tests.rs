use super::*;

/// Keys of these bytes: one line each.
fn file(keys: &[[u8; 48]]) -> Vec<u8> {
    use base64::Engine;
    let lines = keys
        .iter()
        .map(|k| base64::engine::general_purpose::STANDARD.encode(k) + "\n");
    lines.collect::<String>().into_bytes()
}

#[test]
fn a_ticket_of_one_machine_opens_on_another_and_after_one_rotation() {
    let (a, b) = (
        TicketKeys::read("k", &file(&[[1; 48], [2; 48], [3; 48]])).expect("good keys"),
        TicketKeys::read("k", &file(&[[1; 48], [2; 48], [3; 48]])).expect("good keys"),
    );
    let ticket = a.encrypt(b"state").expect("a ticket");
    assert_eq!(b.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    // The last but one encrypts: after one rotation it is the oldest, after two it is gone.
    let next = |n: u8| {
        let text = file(&[[n; 48]]);
        String::from_utf8(text).expect("base64")
    };
    b.push(&next(4)).expect("a good key");
    assert_eq!(b.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
    b.push(&next(5)).expect("a good key");
    assert_eq!(b.decrypt(&ticket), None);
    // Who rotated first can be understood by who has not yet.
    let ticket = {
        a.push(&next(4)).expect("a good key");
        a.encrypt(b"new").expect("a ticket")
    };
    let late = TicketKeys::read("k", &file(&[[1; 48], [2; 48], [3; 48]])).expect("good keys");
    assert_eq!(late.decrypt(&ticket).as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_damaged_ticket_is_none() {
    let keys = TicketKeys::read("k", &file(&[[1; 48], [2; 48], [3; 48]])).expect("good keys");
    let ticket = keys.encrypt(b"state").expect("a ticket");
    for at in 0..ticket.len() {
        let mut damaged = ticket.clone();
        damaged[at] ^= 1;
        assert_eq!(keys.decrypt(&damaged), None, "byte {at}");
        assert_eq!(keys.decrypt(&ticket[..at]), None, "cut at {at}");
    }
}

#[test]
fn files_of_keys_are_read_to_the_end_and_faults_name_the_line() {
    let four = file(&[[1; 48], [2; 48], [3; 48], [4; 48]]);
    let keys = TicketKeys::read("k", &four).expect("good keys");
    assert_eq!(keys.keys()[0].bytes(), &[2; 48], "the last three count");
    for (text, wanted) in [
        (&b"?\n"[..], "k:1: a key is no base64"),
        (b"QUJD\n", "k:1: a key has 48 or 80 bytes"),
        (&file(&[[1; 48], [2; 48]]), "k: at least 3 keys"),
    ] {
        let error = TicketKeys::read("k", text).expect_err("bad keys");
        assert!(error.starts_with(wanted), "{error}");
    }
    assert_eq!(keys.push("QUJD"), Err(KeyFault::Size));
    assert_eq!(keys.push("?"), Err(KeyFault::Encoding));
}
