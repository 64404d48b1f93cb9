use super::*;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn record(owner: &str, data: RData) -> Record {
    Record::from_rdata(name(owner), 60, data)
}

fn reply(question: &Question, code: ResponseCode, answers: Vec<Record>) -> Message {
    let asked = Message::from_vec(&question.bytes()).expect("our own message");
    let mut message = Message::response(asked.metadata.id, OpCode::Query);
    message.metadata.response_code = code;
    message.add_queries(asked.queries);
    message.add_answers(answers);
    message
}

fn ask(text: &str, kind: Kind) -> Question {
    Question::new(7, text, kind, 512).expect("a name")
}

fn said(question: &Question, message: &Message) -> Result<Answer, Fault> {
    question.answer(&message.to_vec().expect("it can be written"))
}

#[test]
fn a_question_asks_for_recursion_and_says_what_it_takes() {
    let message = Message::from_vec(&ask("www.test", Kind::Aaaa).bytes()).expect("ours");
    assert!(message.metadata.recursion_desired);
    assert_eq!(message.edns.as_ref().map(Edns::max_payload), Some(512));
    let query = message.queries.first().expect("a question");
    assert_eq!(
        (query.name().to_ascii().as_str(), query.query_type()),
        ("www.test.", RecordType::AAAA)
    );
    assert!(Question::new(7, "", Kind::A, 512).is_none());
    assert!(Question::new(7, &"x".repeat(64), Kind::A, 512).is_none());
}

#[test]
fn addresses_are_those_of_the_name_or_of_what_it_stands_for() {
    let question = ask("www.test", Kind::A);
    let answers = vec![
        record("WWW.test.", RData::CNAME(CNAME(name("a.test.")))),
        record("a.test.", RData::A(A::new(127, 0, 0, 1))),
        record("other.test.", RData::A(A::new(127, 0, 0, 2))),
        record("a.test.", RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1))),
    ];
    let answer = said(&question, &reply(&question, ResponseCode::NoError, answers)).expect("good");
    assert_eq!(answer.addresses, [IpAddr::from([127, 0, 0, 1])]);
    assert!(answer.alias);
}

#[test]
fn services_bring_their_addresses_along() {
    let question = ask("_http._tcp.test", Kind::Srv);
    let service = |host: &str, port| RData::SRV(SRV::new(1, 256, port, name(host)));
    let mut message = reply(
        &question,
        ResponseCode::NoError,
        vec![
            record("_http._tcp.test.", service("One.test.", 80)),
            record("_http._tcp.test.", service("two.test.", 81)),
            record("_http._tcp.test.", service(".", 82)),
        ],
    );
    message.add_additional(record("two.test.", RData::A(A::new(127, 0, 0, 2))));
    let answer = said(&question, &message).expect("good");
    let services: Vec<_> = answer
        .services
        .iter()
        .map(|s| (&*s.host, s.port, s.weight, s.address))
        .collect();
    assert_eq!(
        services,
        [
            ("one.test", 80, 256, None),
            ("two.test", 81, 256, Some([127, 0, 0, 2].into()))
        ]
    );
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let question = ask("www.test", Kind::A);
    for (code, fault) in [
        (ResponseCode::NXDomain, Fault::NoName),
        (ResponseCode::Refused, Fault::Refused),
        (ResponseCode::ServFail, Fault::Failed),
        (ResponseCode::NoError, Fault::Empty),
    ] {
        assert_eq!(
            said(&question, &reply(&question, code, Vec::new())),
            Err(fault)
        );
    }
    let dangling = vec![record("www.test.", RData::CNAME(CNAME(name("a.test."))))];
    let message = reply(&question, ResponseCode::NoError, dangling);
    assert_eq!(said(&question, &message), Err(Fault::Alias));
    let looped = vec![
        record("www.test.", RData::CNAME(CNAME(name("a.test.")))),
        record("a.test.", RData::CNAME(CNAME(name("www.test.")))),
    ];
    let message = reply(&question, ResponseCode::NoError, looped);
    assert_eq!(said(&question, &message), Err(Fault::Alias));
    let mut cut = reply(&question, ResponseCode::NoError, Vec::new());
    cut.metadata.truncation = true;
    assert_eq!(said(&question, &cut), Err(Fault::Truncated));
    let mut stray = reply(&question, ResponseCode::NoError, Vec::new());
    stray.metadata.id = 8;
    assert_eq!(said(&question, &stray), Err(Fault::Stray));
    let other = ask("else.test", Kind::A);
    assert_eq!(
        said(
            &question,
            &reply(&other, ResponseCode::NXDomain, Vec::new())
        ),
        Err(Fault::Stray)
    );
    assert_eq!(question.answer(b"x"), Err(Fault::Malformed));
    assert_eq!(question.answer(&question.bytes()), Err(Fault::Stray));
}

#[test]
fn messages_over_tcp_have_their_length_before_them() {
    let framed = framed(b"abc");
    assert_eq!(framed, b"\0\x03abc");
    assert_eq!(unframed(&framed), Some(&b"abc"[..]));
    assert_eq!(unframed(b"\0\x03ab"), None);
    assert_eq!(unframed(b"\0"), None);
}

proptest! {
    #[test]
    fn no_bytes_make_an_answer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), id in any::<bool>()) {
        let question = ask("www.test", Kind::A);
        let mut bytes = bytes;
        if id && bytes.len() > 2 {
            bytes.splice(..2, [0, 7]);
        }
        let _ = question.answer(&bytes);
    }
}
