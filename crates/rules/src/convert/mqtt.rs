//! The first packets of MQTT, CONNECT and CONNACK (MQTT 3.1.1 sections 3.1 and 3.2, MQTT 5.0
//! sections 3.1 and 3.2).

use super::{ConvertDef, convert, int};
use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, NONE, args};
use std::borrow::Cow;

const PACKETS: &[&str] = &["connect", "connack", "1", "2"];

/// Names, and numbers of properties.
const FIELDS: &[&str] = &[
    "flags",
    "protocol_name",
    "protocol_version",
    "client_identifier",
    "will_topic",
    "will_payload",
    "username",
    "password",
    "keepalive",
    "reason_code",
    "1",
    "2",
    "3",
    "8",
    "9",
    "17",
    "18",
    "19",
    "21",
    "22",
    "23",
    "24",
    "25",
    "26",
    "28",
    "31",
    "33",
    "34",
    "36",
    "37",
    "39",
    "40",
    "41",
    "42",
];

pub static TABLE: &[ConvertDef] = &[
    convert! { "mqtt_field_value", args(&[AnyCase(PACKETS), AnyCase(FIELDS)], 2), Bin => Any,
        "a field of CONNECT or CONNACK by its name, or a property of MQTT 5.0 by its number",
        "bin(100d00044d5154540402003c000161),mqtt_field_value(connect,client_identifier)" => "a",
        |a, s, _| field(a, &s.to_bytes())
    },
    convert! { "mqtt_is_valid", NONE, Bin => Bool, "whether it begins with a whole CONNECT or CONNACK",
        "bin(20020000),mqtt_is_valid" => "1",
        |_, s, _| {
            let bytes = s.to_bytes();
            (!is_cut_off(&bytes)).then(|| Sample::Bool(read(&bytes).is_some()))
        }
    },
];

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;

/// A packet's parts.
#[derive(Default)]
struct Packet<'a> {
    kind: u8,
    flags: u8,
    version: u8,
    reason: u8,
    protocol: &'a [u8],
    keep_alive: u16,
    client: &'a [u8],
    will: Option<(&'a [u8], &'a [u8])>,
    user: Option<&'a [u8]>,
    password: Option<&'a [u8]>,
    properties: Vec<(u64, Property<'a>)>,
}

#[derive(Clone, Copy)]
enum Property<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let digits = self.take(bytes)?.iter();
        Some(digits.fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let n = self.number(2)?;
        self.take(n as usize)
    }

    /// A variable byte integer (MQTT 5.0 section 1.5.5).
    fn varying(&mut self) -> Option<u64> {
        let mut n = 0;
        for at in 0..4 {
            let byte = self.number(1)?;
            n |= (byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn properties(&mut self) -> Option<Vec<(u64, Property<'a>)>> {
        let length = self.varying()?;
        let mut rest = Reader(self.take(usize::try_from(length).ok()?)?);
        let mut all = Vec::new();
        while !rest.0.is_empty() {
            let kind = rest.varying()?;
            // MQTT 5.0 section 2.2.2.2.
            let value = match kind {
                1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => Property::Number(rest.number(1)?),
                19 | 33 | 34 | 35 => Property::Number(rest.number(2)?),
                2 | 17 | 24 | 39 => Property::Number(rest.number(4)?),
                11 => Property::Number(rest.varying()?),
                3 | 8 | 9 | 18 | 21 | 22 | 26 | 28 | 31 => Property::Bytes(rest.text()?),
                38 => {
                    rest.text()?;
                    rest.text()?;
                    continue;
                }
                _ => return None,
            };
            if all.iter().any(|(k, _)| *k == kind) {
                return None;
            }
            all.push((kind, value));
        }
        Some(all)
    }
}

/// Whether more bytes belong to the packet than there are.
fn is_cut_off(bytes: &[u8]) -> bool {
    let mut reader = Reader(bytes);
    let first = reader.number(1);
    if first.is_some_and(|b| b != u64::from(CONNECT << 4) && b != u64::from(CONNACK << 4)) {
        return false;
    }
    match reader.varying() {
        Some(length) => (reader.0.len() as u64) < length,
        None => bytes.len() < 5,
    }
}

fn read(bytes: &[u8]) -> Option<Packet<'_>> {
    let mut reader = Reader(bytes);
    let first = reader.number(1)? as u8;
    let length = reader.varying()?;
    let mut body = Reader(reader.take(usize::try_from(length).ok()?)?);
    let packet = match (first >> 4, first & 0x0f) {
        (CONNECT, 0) => connect(&mut body)?,
        (CONNACK, 0) => acknowledgement(&mut body)?,
        _ => return None,
    };
    body.0.is_empty().then_some(packet)
}

fn connect<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    let mut packet = Packet {
        kind: CONNECT,
        protocol: body.text()?,
        version: body.number(1)? as u8,
        flags: body.number(1)? as u8,
        keep_alive: body.number(2)? as u16,
        ..Packet::default()
    };
    match (packet.protocol, packet.version) {
        (b"MQIsdp", 3) | (b"MQTT", 4 | 5) => {}
        _ => return None,
    }
    // The lowest bit is reserved; a will has its quality of service and its retention.
    if packet.flags & 1 != 0 || (packet.flags & 4 == 0 && packet.flags & 0x38 != 0) {
        return None;
    }
    if packet.version == 5 {
        packet.properties = body.properties()?;
    }
    packet.client = body.text()?;
    if packet.flags & 4 != 0 {
        if packet.version == 5 {
            packet.properties.extend(body.properties()?);
        }
        packet.will = Some((body.text()?, body.text()?));
    }
    if packet.flags & 0x80 != 0 {
        packet.user = Some(body.text()?);
    }
    if packet.flags & 0x40 != 0 {
        packet.password = Some(body.text()?);
    }
    Some(packet)
}

fn acknowledgement<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    let mut packet = Packet {
        kind: CONNACK,
        flags: body.number(1)? as u8,
        reason: body.number(1)? as u8,
        version: 4,
        ..Packet::default()
    };
    if packet.flags & 0xfe != 0 {
        return None;
    }
    if !body.0.is_empty() {
        packet.version = 5;
        packet.properties = body.properties()?;
    }
    Some(packet)
}

fn field<'s>(args: &[Arg], bytes: &[u8]) -> Option<Sample<'s>> {
    let packet = read(bytes)?;
    let kind = match args.text(0)? {
        b"connect" | b"1" => CONNECT,
        b"connack" | b"2" => CONNACK,
        _ => return None,
    };
    if packet.kind != kind {
        return None;
    }
    let shown = |bytes: &[u8]| Some(Sample::Bin(Cow::Owned(bytes.to_vec())));
    match (kind, args.text(1)?) {
        (_, b"flags") => int(packet.flags.into()),
        (_, b"protocol_version") => int(packet.version.into()),
        (CONNACK, b"reason_code") => int(packet.reason.into()),
        (CONNECT, b"protocol_name") => shown(packet.protocol),
        (CONNECT, b"client_identifier") => shown(packet.client),
        (CONNECT, b"keepalive") => int(packet.keep_alive.into()),
        (CONNECT, b"will_topic") => shown(packet.will?.0),
        (CONNECT, b"will_payload") => shown(packet.will?.1),
        (CONNECT, b"username") => shown(packet.user?),
        (CONNECT, b"password") => shown(packet.password?),
        (_, number) => {
            let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
            let mut all = packet.properties.iter();
            match all.find(|(kind, _)| *kind == number)?.1 {
                Property::Number(n) => int(n as i64),
                Property::Bytes(bytes) => shown(bytes),
            }
        }
    }
}
