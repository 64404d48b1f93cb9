use super::*;
use proptest::prelude::*;

fn numbers(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, n);
    out
}

/// The table and the example of the documents, and numbers at each bound.
#[test]
fn numbers_are_written_as_the_document_shows() {
    assert_eq!(numbers(0x1234), [0xf4, 0x94, 0x01]);
    for (n, len) in [
        (0, 1),
        (239, 1),
        (240, 2),
        (2287, 2),
        (2288, 3),
        (264_431, 3),
        (264_432, 4),
        (33_818_863, 4),
        (33_818_864, 5),
        (4_328_786_159, 5),
        (4_328_786_160, 6),
    ] {
        assert_eq!(numbers(n).len(), len, "{n}");
    }
    assert_eq!(number(&mut &numbers(u64::MAX)[..]), Some(u64::MAX));
    assert_eq!(number(&mut &[0xff; 12][..]), None);
}

/// As haproxy 2.6 sent them for tables of its configuration.
#[test]
fn definitions_and_entries_of_the_oracle_are_understood() {
    let bytes = [
        10, 130, 23, 3, 3, b'a', b'r', b'r', 2, 4, 0xf0, 0xf1, 0xfe, 0x6e, 0xf0, 0xc4, 0x0d, 22, 3,
        23, 2, 24, 2, 0xf0, 0xeb, 0,
    ];
    let Ok(Some((Message::Definition(definition), taken))) = read(&bytes) else {
        panic!("a definition");
    };
    assert_eq!(taken, bytes.len());
    assert_eq!((definition.table, definition.expire), (3, 30_000));
    assert_eq!(definition.key, Key::Integer);
    let column = |data, count, period| Column {
        data,
        count,
        period,
    };
    let columns = [column(22, 3, 0), column(23, 2, 0), column(24, 2, 4000)];
    assert_eq!(definition.columns, columns);
    let update = [
        10, 128, 23, 0, 0, 0, 3, 127, 0, 0, 1, 0, 77, 0, 0, 1, 0xf1, 0xb2, 0x87, 0x82, 0x7e, 0, 0,
        1, 1, 0,
    ];
    let Ok(Some((Message::Update(update), 26))) = read(&update) else {
        panic!("an update");
    };
    assert_eq!((update.number, update.expire), (Some(3), None));
    let entry = definition.read(update.fields).expect("it fits");
    assert_eq!(entry.key, [127, 0, 0, 1]);
    let rate = |elapsed, current| {
        Value::Rate(Rate {
            elapsed,
            current,
            before: 0,
        })
    };
    let mut expected: Vec<_> = [0, 77, 0, 0, 1].map(Value::Number).into();
    expected.extend([rate(4_262_216_721, 0), rate(1, 1)]);
    assert_eq!(entry.values, expected);
}

#[test]
fn a_hello_is_read_in_any_pieces_and_refused_by_its_fault() {
    let hello = Hello {
        to: "b".into(),
        from: "a".into(),
        process: 77,
    };
    let mut bytes = Vec::new();
    write_hello(&hello, &mut bytes);
    for len in 0..bytes.len() {
        assert_eq!(read_hello(&bytes[..len]), HelloRead::NeedMore, "{len}");
    }
    let len = bytes.len();
    bytes.extend([0, 4]);
    assert_eq!(read_hello(&bytes), HelloRead::Hello(hello, len));
    for (text, status) in [
        ("GET / HTTP/1.1\r\n", Status::ProtocolError),
        ("HAProxyS 1.0\na\nb 1 0\n", Status::BadVersion),
        ("HAProxyS 2.1\na\nb\n", Status::ProtocolError),
        ("HAProxyS 2.1\na\nb x 0\n", Status::ProtocolError),
    ] {
        assert_eq!(read_hello(text.as_bytes()), HelloRead::Refused(status));
    }
    for status in Status::ALL {
        let line = status.line();
        assert_eq!(read_status(line.as_bytes()), Ok(Some((status, 4))));
    }
    assert_eq!(read_status(b"20"), Ok(None));
    assert!(read_status(b"999\n").is_err());
}

#[test]
fn a_message_that_would_be_too_long_or_has_no_sense_is_a_fault() {
    let mut long = vec![10, 128];
    put_number(&mut long, LONGEST as u64 + 1);
    assert_eq!(read(&long), Err(Fault::TooLong));
    assert_eq!(read(&[77, 0]), Err(Fault::Malformed));
    assert_eq!(read(&[10, 132, 0]), Err(Fault::Malformed));
    assert_eq!(read(&[0, 9]), Ok(Some((Message::Other, 2))));
}

fn definition() -> impl Strategy<Value = Definition> {
    let key = prop_oneof![
        Just((Key::Integer, 4)),
        Just((Key::Ip, 4)),
        Just((Key::Ipv6, 16)),
        (1u64..40).prop_map(|n| (Key::String, n)),
        (1u64..40).prop_map(|n| (Key::Binary, n)),
    ];
    let name = proptest::collection::vec(any::<u8>(), 0..20);
    let bits = any::<u32>();
    let parts = (any::<u64>(), name, key, bits, 1u32..5, any::<u32>());
    parts.prop_map(|(table, name, (key, key_len), bits, count, period)| {
        let columns = (0u8..27).filter(|d| bits >> d & 1 != 0).filter_map(|data| {
            let (kind, array) = kind(data)?;
            Some(Column {
                data,
                count: if array { count } else { 1 },
                period: if kind == Kind::Rate { period } else { 0 },
            })
        });
        Definition {
            table,
            name,
            key,
            key_len,
            columns: columns.collect(),
            expire: period.into(),
        }
    })
}

proptest! {
    #[test]
    fn every_number_comes_back(n in any::<u64>()) {
        prop_assert_eq!(number(&mut &numbers(n)[..]), Some(n));
    }

    #[test]
    fn every_definition_and_entry_comes_back(
        definition in definition(),
        seed in any::<[u32; 4]>(),
        expire in any::<Option<u32>>(),
        text in proptest::collection::vec(any::<u8>(), 1..20),
    ) {
        let mut bytes = Vec::new();
        write(&Message::Definition(definition.clone()), &mut bytes);
        let len = bytes.len();
        let key = vec![7; definition.key_len as usize];
        let values = definition.columns.iter().flat_map(|c| {
            let value = match kind(c.data) {
                Some((Kind::Rate, _)) => Value::Rate(Rate {
                    elapsed: seed[0],
                    current: seed[1],
                    before: seed[2],
                }),
                Some((Kind::Text, _)) if seed[3] % 3 == 0 => Value::NoText,
                Some((Kind::Text, _)) => {
                    Value::Text(5, (seed[3] % 3 == 1).then_some(&text[..]))
                }
                _ => Value::Number(u64::from(seed[3]) << 20),
            };
            std::iter::repeat_n(value, c.count as usize)
        });
        let entry = Entry { key: &key, values: values.collect() };
        let mut fields = Vec::new();
        definition.put(&entry, &mut fields);
        let update = Message::Update(Update {
            number: (seed[0] % 2 == 0).then_some(seed[1]),
            expire,
            fields: &fields,
        });
        write(&update, &mut bytes);
        let (first, taken) = read(&bytes).expect("sense").expect("whole");
        prop_assert_eq!(taken, len);
        prop_assert_eq!(first, Message::Definition(definition.clone()));
        let (second, taken) = read(&bytes[len..]).expect("sense").expect("whole");
        prop_assert_eq!(taken, bytes.len() - len);
        prop_assert_eq!(&second, &update);
        prop_assert_eq!(definition.read(&fields), Some(entry));
    }

    #[test]
    fn damaged_messages_are_refused_or_read_but_never_more_than_there_is(
        definition in definition(),
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        kind in 128u8..136,
    ) {
        let mut message = vec![10, kind];
        put_number(&mut message, bytes.len() as u64);
        message.extend(&bytes);
        for input in [&bytes[..], &message[..]] {
            if let Ok(Some((read, taken))) = read(input) {
                prop_assert!(taken <= input.len());
                if let Message::Update(update) = read {
                    let _ = definition.read(update.fields);
                }
            }
        }
        let _ = (read_hello(&bytes), read_status(&bytes));
    }
}
