use super::*;
use crate::material::certificates;

/// An answer of `openssl ocsp`, made on 21 November 2026 for seven days.
const ANSWER: &[u8] = include_bytes!("../../tests/answer.ocsp");
/// The certificate that it is about, and its issuer.
const CHAIN: &[u8] = include_bytes!("../../tests/answered.pem");

const MADE: i64 = 1_795_274_117;
const WEEK: i64 = 7 * 24 * 3600;

fn id() -> CertificateId {
    let chain = certificates(CHAIN).expect("certificates");
    id_of(&chain[0], &chain[1]).expect("an id")
}

#[test]
fn an_answer_of_openssl_is_read() {
    let answer = read(ANSWER).expect("an answer");
    assert_eq!(answer.produced, MADE);
    assert_eq!(answer.algorithm, "sha256WithRSAEncryption");
    assert!(matches!(&answer.responder, Responder::Name(n) if n[1].1 == "Root"));
    let [single] = answer.singles.as_slice() else {
        panic!("one certificate: {answer:?}");
    };
    assert_eq!((&single.id, single.status), (&id(), "good"));
    assert_eq!((single.from, single.until), (MADE, Some(MADE + WEEK)));
    // Tag and length of the whole, then the algorithm.
    assert!(id().der().starts_with(&[0x30, 0x4d, 0x30, 9, 6, 5, 0x2b]));
}

#[test]
fn an_answer_counts_for_its_certificate_and_its_time() {
    assert_eq!(check(ANSWER, &id(), MADE), Ok(()));
    let late = check(ANSWER, &id(), MADE + WEEK + 1).expect_err("too late");
    assert_eq!(late, "OCSP single response: no longer valid");
    let other = CertificateId {
        serial: vec![1],
        ..id()
    };
    assert!(check(ANSWER, &other, MADE).is_err());
}

#[test]
fn no_damaged_answer_panics() {
    for at in 0..ANSWER.len() {
        let _ = read(&ANSWER[..at]);
        for flip in [1, 0x80, 0xff] {
            let mut damaged = ANSWER.to_vec();
            damaged[at] ^= flip;
            let _ = read(&damaged);
        }
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    assert_eq!(time(b"19700101000000Z"), Some(0));
    assert_eq!(time(b"20000229235959Z"), Some(951_868_799));
    assert_eq!(time(b"20261121151517Z"), Some(MADE));
    for wrong in [
        &b"20261121151517"[..],
        b"2026112115151Z",
        b"20261321151517Z",
        b"+0261121151517Z",
    ] {
        assert_eq!(time(wrong), None);
    }
}

/// A value in DER.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let inside = parts.concat();
    let length = u16::try_from(inside.len()).expect("short").to_be_bytes();
    [&[tag, 0x82][..], &length, &inside].concat()
}

#[test]
fn an_answer_about_several_ends_for_each_by_itself() {
    let single = |serial: &[u8], until: &[u8]| {
        let hash = der(OCTETS, &[&[7; 20]]);
        let id = der(SEQUENCE, &[SHA1, &hash, &hash, &der(INTEGER, &[serial])]);
        let from = der(GENERALIZED_TIME, &[b"20261121000000Z"]);
        let until = der(EXPLICIT[0], &[&der(GENERALIZED_TIME, &[until])]);
        der(SEQUENCE, &[&id, &[IMPLICIT_GOOD, 0], &from, &until])
    };
    let list = der(
        SEQUENCE,
        &[
            &single(&[1], b"20261122000000Z"),
            &single(&[2], b"20261123000000Z"),
        ],
    );
    let by = der(EXPLICIT[2], &[&der(OCTETS, &[&[7; 20]])]);
    let made = der(GENERALIZED_TIME, &[b"20261121000000Z"]);
    let data = der(SEQUENCE, &[&by, &made, &list]);
    let signature = der(BITS, &[&[0, 1, 2]]);
    let basic = der(SEQUENCE, &[&data, SHA1, &signature]);
    let kind = [OBJECT, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
    let bytes = der(SEQUENCE, &[&kind, &der(OCTETS, &[&basic])]);
    let answer = der(
        SEQUENCE,
        &[&[ENUMERATED, 1, 0], &der(EXPLICIT[0], &[&bytes])],
    );
    let of = |serial: u8| CertificateId {
        name_hash: vec![7; 20],
        key_hash: vec![7; 20],
        serial: vec![serial],
    };
    let day = 24 * 3600;
    let first = ends(&answer, &of(1)).expect("it says so");
    assert_eq!(ends(&answer, &of(2)), Some(first + day));
    assert_eq!(ends(&answer, &of(3)), None, "it says nothing of that");
}
