//! Tens of thousands of packets that chance made, each way to forward, both families: what becomes of them is what a
//! plain model says, byte for byte.

mod common;
#[path = "corpus"]
mod corpus {
    pub mod make;
    pub mod model;
    pub mod read;
    pub mod write;
    pub use super::common::*;
}

use common::*;
use corpus::make::{self, Dice};
use corpus::model::{DSCP, Fate, GUE_PORT, Kind, MTU, Macs, Model, Way};
use corpus::read::Key;
use corpus::write::without_minus_zero;
use packet::abi::{self, Service, forward};
use std::net::IpAddr;

/// The kinds with services of ports, and then those with services of an address.
const KINDS: [(Kind, bool); 13] = [
    (Kind::Nat, false),
    (Kind::Late, false),
    (Kind::Pool, false),
    (Kind::Dsr, false),
    (Kind::Dscp, false),
    (Kind::Bridge, false),
    (Kind::Ipip, false),
    (Kind::Gre, false),
    (Kind::Gue, false),
    (Kind::Nat, true),
    (Kind::Pool, true),
    (Kind::Dsr, true),
    (Kind::Ipip, true),
];

fn host(four: bool, net: usize, n: usize) -> IpAddr {
    let text = if four {
        format!("10.{net}.0.{n}")
    } else {
        format!("fd00:{net}::{n:x}")
    };
    ip(&text)
}

fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for four in [true, false] {
        for (at, (kind, any)) in KINDS.into_iter().enumerate() {
            let translates = matches!(kind, Kind::Nat | Kind::Late | Kind::Pool | Kind::Bridge);
            let port = |port: u16| if translates { port } else { 0 };
            // Tunnels lead to servers of the other family, too.
            let outer4 = if kind == Kind::Gre { !four } else { four };
            ways.push(Way {
                kind,
                vip: host(four, 1, 1 + at),
                ports: if any {
                    vec![(0, 0, 0)]
                } else {
                    vec![(80, TCP, port(8080)), (53, UDP, port(5353))]
                },
                server: host(outer4, 2, 1 + at),
                local: host(outer4, 2, 254),
                pool: (kind == Kind::Pool).then(|| {
                    let first = host(four, 3, 16 * at);
                    ((first, host(four, 3, 16 * at + 3)), (1024, 1031))
                }),
            });
        }
    }
    ways
}

/// Puts what the model has into the tables.
fn serve(bench: &mut Bench, ways: &[Way]) {
    let mut places = 0;
    for way in ways {
        for (port, proto, to) in &way.ports {
            let ((first, _), ports) = way.pool.unwrap_or(((way.vip, way.vip), (GUE_PORT, 0)));
            let service = Service {
                forward: match way.kind {
                    Kind::Nat | Kind::Late | Kind::Pool => forward::NAT,
                    Kind::Dsr => forward::DSR,
                    Kind::Dscp => forward::DSCP,
                    Kind::Bridge => forward::BRIDGE,
                    Kind::Ipip => forward::IPIP,
                    Kind::Gre => forward::GRE,
                    Kind::Gue => forward::GUE,
                },
                late: (way.kind == Kind::Late).into(),
                dscp: DSCP,
                pool_first: abi::address(first),
                pool_size: if way.pool.is_some() { 4 } else { 0 },
                port_first: ports.0,
                port_last: ports.1,
                ..Service::default()
            };
            let (vip, server) = ((way.vip, *port).into(), (way.server, *to).into());
            bench.service(vip, *proto, service, &[server]);
            bench.change(places, |s| {
                s.hop.mtu = MTU as u16;
                s.local = if way.kind == Kind::Dscp {
                    [0; 16]
                } else {
                    abi::address(way.local)
                };
            });
            places += 1;
            if way.kind == Kind::Late {
                bench.expect_answers(server, vip, *proto);
            }
        }
    }
}

struct Corpus {
    bench: Bench,
    model: Model,
    dice: Dice,
    /// Whether there is a session of this case that the model does not know.
    unseen: bool,
    /// What came out so far: untouched, dropped, sent.
    fates: [usize; 3],
}

impl Corpus {
    fn new(seed: u64, features: u32) -> Option<Corpus> {
        let mut bench = bench_with(features)?;
        let ways = ways();
        serve(&mut bench, &ways);
        let macs = Macs {
            server: SERVER_MAC,
            inner: INNER_MAC,
        };
        Some(Corpus {
            bench,
            model: Model::new(ways, macs),
            dice: Dice(seed),
            unseen: false,
            fates: [0; 3],
        })
    }

    fn clear(&mut self) {
        self.model.clear();
        self.unseen = false;
        let mut flows = self.bench.0.flows().expect("flows");
        let keys: Vec<_> = flows.keys().filter_map(Result::ok).collect();
        for key in keys {
            flows.remove(&key).expect("it was there");
        }
        let fragments = self.bench.0.map("fragments").expect("a table");
        let mut fragments: aya::maps::HashMap<_, [u8; 40], [u8; 4]> =
            fragments.try_into().expect("its kind");
        let keys: Vec<_> = fragments.keys().filter_map(Result::ok).collect();
        for key in keys {
            fragments.remove(&key).expect("it was there");
        }
    }

    /// Runs one frame; what differs from the model.
    fn judge(&mut self, frame: &[u8]) -> Result<(), String> {
        let mut fate = self.model.fate(frame);
        let event = match fate {
            Fate::Dropped(event) => event,
            _ => "malformed",
        };
        let before = self.bench.0.event(event);
        let (verdict, got) = self.bench.run(frame);
        let counted = self.bench.0.event(event) - before;
        if let Fate::FromPool { way, packet } = fate {
            if verdict == XDP_DROP && counted == 0 {
                return Err("dropped, though it begins a session".into());
            }
            // Time to live is looked at when the session is there, with a place that nobody sees.
            fate = if verdict == XDP_PASS && packet.ttl <= 1 {
                self.unseen = true;
                Fate::Untouched
            } else {
                self.model.left_by_pool(frame, way, &packet, &got)?
            };
        }
        match fate {
            Fate::Untouched => {
                self.fates[0] += 1;
                if verdict != XDP_PASS || got != frame {
                    return Err(format!(
                        "verdict {verdict} instead of passing it on untouched: {}",
                        show(&got)
                    ));
                }
            }
            Fate::Dropped(_) => {
                self.fates[1] += 1;
                if verdict != XDP_DROP || counted != 1 {
                    return Err(format!(
                        "verdict {verdict} instead of a drop that is counted as {event} ({counted}): {}",
                        show(&got)
                    ));
                }
            }
            Fate::Sent {
                out,
                frame,
                sums,
                spread,
            } => {
                self.fates[2] += 1;
                let wanted = if out || BEHIND_DRIVER {
                    XDP_REDIRECT
                } else {
                    XDP_TX
                };
                let (mut got, mut frame) = (got, frame);
                if let Some(at) = spread.filter(|at| got.len() > at + 1 && got[*at] >= 0xc0) {
                    frame[at..at + 2].copy_from_slice(&got[at..at + 2]);
                }
                without_minus_zero(&mut got, &sums);
                without_minus_zero(&mut frame, &sums);
                if verdict != wanted || got != frame {
                    return Err(format!(
                        "verdict {verdict} instead of {wanted}\n got    {}\n wanted {}",
                        show(&got),
                        show(&frame)
                    ));
                }
            }
            Fate::FromPool { .. } => unreachable!("it was followed above"),
        }
        Ok(())
    }

    /// One session, and what comes by.
    fn case(&mut self) -> Result<(), (Vec<Vec<u8>>, String)> {
        self.clear();
        let way = self.model.ways[self.dice.below(2 * KINDS.len())].clone();
        let four = way.vip.is_ipv4();
        let (port, proto, _) = way.ports[self.dice.below(way.ports.len())];
        let echo = if four { ICMP } else { ICMP6 };
        let proto = if proto == 0 {
            self.dice.of(&[TCP, UDP, echo, 132, 50])
        } else {
            proto
        };
        let sport = 1024 + self.dice.below(60000) as u16;
        let (sport, port) = match proto {
            TCP | UDP if port == 0 => (sport, 1 + self.dice.below(65535) as u16),
            TCP | UDP => (sport, port),
            p if p == echo => (sport, sport),
            _ => (0, 0),
        };
        let key: Key = (
            host(four, 4, 1 + self.dice.below(200)),
            sport,
            way.vip,
            port,
            proto,
        );
        let mut seen = Vec::new();
        let mut run = |corpus: &mut Corpus, frame: Vec<u8>| {
            seen.push(frame);
            let frame = &seen[seen.len() - 1];
            corpus
                .judge(frame)
                .map_err(|e| (seen.clone(), format!("{way:?}: {e}")))
        };
        if !self.dice.one_in(4) {
            run(self, make::plain(&key, SYN, b"first").bytes())?;
            let answers = self.model.answers(&key).filter(|_| way.kind.sees_answers());
            if let Some(answers) = answers.filter(|_| self.dice.one_in(2)) {
                let answer = Frame {
                    to: INNER_MAC,
                    from: SERVER_MAC,
                    ..make::plain(&answers, SYN | ACK, b"answer")
                };
                run(self, answer.bytes())?;
            }
        }
        let others = [host(four, 5, 1), way.server, way.vip, host(four, 1, 3)];
        let others: Vec<_> = others.into_iter().filter(|o| o.is_ipv4() == four).collect();
        for _ in 0..1 + self.dice.below(3) {
            let answers = self.model.answers(&key).filter(|_| way.kind != Kind::Gre);
            for frame in make::frames(&mut self.dice, &key, answers.as_ref(), &others) {
                if self.unseen {
                    return Ok(());
                }
                run(self, frame)?;
            }
        }
        Ok(())
    }
}

/// How many, and from which seed on: `CASES` and `SEED` for longer runs.
fn wanted(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(usual)
}

#[test]
fn whatever_comes_is_passed_on_or_dropped_and_counted_or_rewritten_as_the_model_says() {
    as_the_model_says(0);
}

/// Prefixes, firewalls, guards and cookies are for packets of services that have them, and of nobody else's.
#[test]
fn what_programs_can_do_besides_changes_nothing_where_nobody_asks_for_it() {
    as_the_model_says(abi::feature::SOURCES * 2 - 1);
}

fn as_the_model_says(features: u32) {
    let seed = wanted("SEED", 1 + u64::from(features));
    let Some(mut corpus) = Corpus::new(seed, features) else {
        return;
    };
    let (mut failed, cases) = (0, wanted("CASES", 4_000));
    for case in 0..cases {
        if let Err((frames, why)) = corpus.case() {
            failed += 1;
            println!("case {case} of seed {seed}: {why}");
            for frame in frames {
                println!(" came   {}", show(&frame));
            }
            assert!(failed < wanted("FAILURES", 1), "the model says otherwise");
        }
    }
    let all: usize = corpus.fates.iter().sum();
    println!("{all} packets: {:?} untouched, dropped, sent", corpus.fates);
    assert!(failed == 0, "{failed} cases");
    assert!(
        corpus.fates.iter().all(|n| *n > all / 50),
        "chance left something out: {:?}",
        corpus.fates
    );
}

#[test]
fn a_routing_header_that_leads_on_and_an_error_that_ends_early_are_nobodys() {
    let Some(mut corpus) = Corpus::new(1, 0) else {
        return;
    };
    for four in [true, false] {
        let vip = host(four, 1, 1);
        let key: Key = (host(four, 4, 1), 40000, vip, 80, TCP);
        let syn = make::plain(&key, SYN, b"");
        let mut routed =
            syn.packet_of(&[&[TCP, 0, 0, 1, 0, 0, 0, 0], &syn.transport()[..]].concat());
        routed[6] = 43;
        // Answered by the last one of those it names, whose address its sum counts.
        if !four {
            corpus.judge(&syn.around(&routed)).expect("untouched");
            assert_eq!(corpus.bench.sessions(), 2, "those of the other family");
        }
        corpus.judge(&syn.bytes()).expect("it opens a session");
        let about = corpus.model.answers(&key).expect("a session");
        let quoted = make::plain(&corpus::read::reversed(&about), ACK, b"data").packet();
        let kind = if four { ICMP } else { ICMP6 };
        let mut error = make::plain(&(host(four, 5, 1), 0, key.0, 0, kind), 0, b"");
        // The quotation ends before, in and behind the ports, and before and behind the sum; the frame goes on.
        let header = if four { 20 } else { 40 };
        for end in [
            0,
            header,
            header + 2,
            header + 4,
            header + 8,
            header + 17,
            header + 18,
        ] {
            error.load = Load::Icmp {
                kind: if four { 3 } else { 1 },
                code: 1,
                word: 0,
                data: quoted[..end].to_vec(),
            };
            let frame = [error.bytes(), quoted[end..].to_vec()].concat();
            corpus.judge(&frame).expect("as the model says");
        }
    }
}
