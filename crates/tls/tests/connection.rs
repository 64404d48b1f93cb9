//! Two sides in memory: any split of the bytes gives the same result, and no damaged byte
//! panics or passes for a good one.

use proptest::prelude::*;
use std::sync::Arc;
use tls::{
    Acceptor, AcceptorSettings, Connection, Connector, ConnectorSettings, Peek, PeerName,
    Preferences, Source, Store, Verify, Version, Versions,
};

const SITE: &[u8] = include_bytes!("site.pem");

fn read(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "site.pem" => Ok(SITE.to_vec()),
        _ => Err("no such file".into()),
    }
}

fn preferences(only: Option<Version>) -> Preferences {
    let mut versions = Versions::default();
    if let Some(version) = only {
        versions.only(version);
    }
    Preferences {
        versions,
        ..Preferences::default()
    }
}

fn acceptor(only: Option<Version>) -> (Store, Arc<Acceptor>) {
    let store = Store::default();
    let settings = AcceptorSettings {
        certificates: vec![Source::File("site.pem".into())],
        preferences: preferences(only),
        ..AcceptorSettings::default()
    };
    let (acceptor, unknown) =
        Acceptor::new(settings, "test:1", &store, &read).expect("good settings");
    assert!(unknown.is_empty());
    (store, acceptor)
}

fn connector(store: &Store, only: Option<Version>) -> Arc<Connector> {
    let settings = ConnectorSettings {
        verify: Verify::None,
        preferences: preferences(only),
        ..ConnectorSettings::default()
    };
    Connector::new(settings, store, &read)
        .expect("good settings")
        .0
}

/// One side with what it has received and what it has to send.
struct End {
    connection: Connection,
    incoming: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
    failed: bool,
}

impl End {
    fn new(connection: Connection) -> End {
        End {
            connection,
            incoming: Vec::new(),
            plain: Vec::new(),
            out: Vec::new(),
            failed: false,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        let End {
            connection,
            incoming,
            plain,
            out,
            ..
        } = self;
        match connection.receive(incoming, &mut [], plain, out) {
            Ok(received) => drop(incoming.drain(..received.used)),
            Err(_) => self.failed = true,
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        if !self.connection.is_handshaking() {
            self.failed |= self
                .connection
                .send(bytes, &mut self.incoming, &mut self.out)
                .is_err();
        }
    }
}

fn pair(only: Option<Version>) -> (End, End) {
    let (store, acceptor) = acceptor(only);
    let connector = connector(&store, only);
    let client =
        Connection::connect(&connector, &PeerName::Name("a.site.example")).expect("a connection");
    let choice = acceptor.choose(None).expect("a choice");
    (
        End::new(client),
        End::new(Connection::accept(choice, None).expect("a connection")),
    )
}

/// Carries bytes between the two in pieces, some of them damaged, until nothing moves.
fn carry(one: &mut End, other: &mut End, pieces: &[usize], damage: &mut impl FnMut(&mut [u8])) {
    let mut pieces = pieces.iter().cycle();
    one.receive(&[]);
    for _ in 0..10_000 {
        let mut moved = false;
        for flip in [false, true] {
            let (from, to) = if flip {
                (&mut *other, &mut *one)
            } else {
                (&mut *one, &mut *other)
            };
            if to.failed {
                from.out.clear();
            }
            if !from.out.is_empty() {
                let n = pieces.next().map_or(1, |n| *n).clamp(1, from.out.len());
                let mut part: Vec<u8> = from.out.drain(..n).collect();
                damage(&mut part);
                to.receive(&part);
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_split_of_the_bytes_gives_the_same(
        pieces in prop::collection::vec(1usize..3000, 1..20),
        up in prop::collection::vec(any::<u8>(), 0..60_000),
        down in prop::collection::vec(any::<u8>(), 0..60_000),
        old in any::<bool>(),
    ) {
        let (mut client, mut server) = pair(old.then_some(Version::Tls12));
        carry(&mut client, &mut server, &pieces, &mut |_| {});
        prop_assert!(!client.connection.is_handshaking() && !server.connection.is_handshaking());
        client.send(&up);
        server.send(&down);
        carry(&mut client, &mut server, &pieces, &mut |_| {});
        prop_assert!(!client.failed && !server.failed);
        prop_assert!(client.plain == down && server.plain == up);
        let agreed = server.connection.agreed();
        prop_assert_eq!(agreed.version, if old { "TLSv1.2" } else { "TLSv1.3" });
        client.connection.close(&mut client.incoming, &mut client.out).expect("a notice");
        let notice = std::mem::take(&mut client.out);
        let received = server.connection.receive(&mut notice.clone(), &mut [], &mut server.plain, &mut server.out);
        prop_assert!(received.expect("good bytes").closed);
    }

    #[test]
    fn a_damaged_byte_never_passes_and_never_panics(
        pieces in prop::collection::vec(1usize..600, 1..10),
        at in 0usize..9_000,
        bit in 0u8..8,
        old in any::<bool>(),
    ) {
        let (mut client, mut server) = pair(old.then_some(Version::Tls12));
        let message: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
        let mut seen = 0;
        let mut damage = |part: &mut [u8]| {
            if (seen..seen + part.len()).contains(&at) {
                part[at - seen] ^= 1 << bit;
            }
            seen += part.len();
        };
        carry(&mut client, &mut server, &pieces, &mut damage);
        client.send(&message);
        server.send(&message);
        carry(&mut client, &mut server, &pieces, &mut damage);
        prop_assert!(message.starts_with(&client.plain) && message.starts_with(&server.plain));
        // What follows an error is an error, and no panic either.
        client.send(b"more");
        server.send(b"more");
        client.receive(&[0; 3]);
        server.receive(&[22, 3, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn the_greeting_is_read_whole_or_not_at_all(noise in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..2000) {
        let _ = tls::peek(&noise);
        let (mut client, _) = pair(None);
        client.receive(&[]);
        let cut = cut.min(client.out.len().saturating_sub(1));
        prop_assert_eq!(tls::peek(&client.out[..cut]), Peek::NeedMore);
        let Peek::Hello(hello) = tls::peek(&client.out) else { panic!("a greeting") };
        prop_assert_eq!(hello.sni.as_deref(), Some("a.site.example"));
        prop_assert_eq!(hello.version, 0x0304);
        for (n, byte) in noise.iter().enumerate() {
            let at = usize::from(*byte) * 7 % client.out.len();
            client.out[at] ^= n as u8;
        }
        let _ = tls::peek(&client.out);
    }
}
