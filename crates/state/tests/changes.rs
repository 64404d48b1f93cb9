//! Thousands of servers of one backend that change together: what that costs, and that nobody who has gone is
//! chosen meanwhile.

mod common;

use common::{process_with, server};
use model::{Balance, Eject, HashMethod};
use state::health::{Change, CheckStatus, Finding};
use state::news::{Cause, Standing};
use state::{Admin, Backend, Pick, PickKey, Process, Server};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn many(count: u32, balance: Balance) -> (Arc<Process>, Arc<Backend>) {
    with(count, |side| side.balance = balance)
}

fn with(count: u32, change: impl FnOnce(&mut model::Backend)) -> (Arc<Process>, Arc<Backend>) {
    let mut side = model::Backend {
        servers: (1..=count).map(|id| server(id, 0)).collect(),
        ..model::Backend::default()
    };
    change(&mut side);
    let process = process_with(side);
    let backend = Arc::clone(&process.generation.load().backends[0]);
    (process, backend)
}

fn keep_out(process: &Process, backend: &Arc<Backend>, server: &Server, out: bool) {
    let before = Standing::of(backend, server);
    let now = Instant::now();
    server.administer(Admin::FORCED_MAINT, out, now);
    process.changed(backend, server, before, Cause::Cli, now);
}

fn pick(backend: &Arc<Backend>, hash: u32) -> Pick {
    let key = PickKey {
        hash: Some(hash),
        now: 0,
    };
    backend.pick(key, None)
}

/// So many looks at all servers are paid for by as many changes and choices as there are servers.
const WALKS: u64 = 16;

#[test]
fn all_servers_are_looked_at_as_seldom_for_ten_thousand_changes_as_for_sixteen() {
    for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::Fastest] {
        let (process, backend) = many(10_000, balance);
        let start = backend.walks();
        for server in backend.servers() {
            keep_out(&process, &backend, server, true);
        }
        assert!(!backend.serves());
        assert_eq!(backend.usable(), 0);
        assert!(backend.walks() - start <= WALKS + 1);
        let turns = backend.ups_and_downs();
        assert_eq!((turns.down, turns.went_down), (true, 1));
        for server in backend.servers() {
            keep_out(&process, &backend, server, false);
        }
        assert_eq!(backend.usable(), 10_000);
        assert!(backend.walks() - start <= 2 * (WALKS + 1));
        assert!(!backend.ups_and_downs().down);
    }
}

#[test]
fn who_has_gone_is_never_chosen_and_who_is_left_always_is() {
    let map = HashMethod::MapBased;
    let ring = HashMethod::Consistent;
    let kinds = [
        (Balance::RoundRobin, map),
        (Balance::StaticRr, map),
        (Balance::LeastConn, map),
        (Balance::First, map),
        (Balance::Sticky, map),
        (Balance::Source, map),
        (Balance::Source, ring),
        (Balance::Random { draws: 2 }, map),
        (Balance::Maglev(Arc::default()), map),
        (Balance::ResponseTime, map),
        (Balance::Fastest, map),
        (Balance::Bandwidth, map),
    ];
    for (balance, method) in kinds {
        let name = format!("{balance:?} {method:?}");
        let (process, backend) = with(100, |side| {
            side.balance = balance.clone();
            side.hash_method = method;
            // Two backup servers, the second of which is never needed.
            side.servers
                .iter_mut()
                .skip(98)
                .for_each(|s| s.backup = true);
        });
        let mut held = Vec::new();
        for n in 0..99u32 {
            for round in 0..3 {
                match pick(&backend, (n * 3 + round).wrapping_mul(2_654_435_761)) {
                    Pick::Server(slot) => {
                        assert!(slot.server().schedulable(), "{name} {n}");
                        assert_eq!(slot.server().is_backup(), n == 98, "{name} {n}");
                        held.push(slot);
                    }
                    _ => panic!("{name}: nobody chosen with {n} gone"),
                }
            }
            // Neither in the order of the file nor in that of the wheel.
            let at = if n < 98 { n * 37 % 98 } else { n };
            keep_out(&process, &backend, &backend.servers()[at as usize], true);
        }
        assert!(matches!(pick(&backend, 1), Pick::Server(slot) if slot.server().id == 100));
    }
}

#[test]
fn who_comes_back_is_chosen_at_once_where_nobody_else_is_left() {
    for balance in [Balance::RoundRobin, Balance::LeastConn, Balance::Source] {
        let (process, backend) = many(1_000, balance);
        for server in backend.servers() {
            keep_out(&process, &backend, server, true);
        }
        assert!(matches!(pick(&backend, 7), Pick::None));
        let back = &backend.servers()[500];
        keep_out(&process, &backend, back, false);
        assert!(matches!(pick(&backend, 7), Pick::Server(slot) if slot.server().id == back.id));
    }
}

#[test]
fn who_was_down_when_its_name_was_lost_is_chosen_when_it_has_an_address_again() {
    let (process, backend) = many(1, Balance::RoundRobin);
    let server = &backend.servers()[0];
    let now = Instant::now();
    let before = Standing::of(&backend, server);
    server.health().force(Change::Down, now);
    process.changed(&backend, server, before, Cause::Cli, now);
    assert!(!server.usable());
    server.administer(Admin::UNRESOLVED, true, now);
    server.administer(Admin::UNRESOLVED, false, now);
    backend.refresh();
    let good = Finding::of(CheckStatus::L4Ok);
    assert_eq!(server.health().on_result(good, None, now).change, None);
    assert!(matches!(pick(&backend, 7), Pick::Server(_)));
}

#[test]
fn a_change_counts_in_the_configuration_of_now_whichever_it_began_in() {
    let (process, before) = many(1, Balance::RoundRobin);
    let server = &before.servers()[0];
    keep_out(&process, &before, server, true);
    let mut config = model::Config::clone(&process.generation.load().config);
    let mut proxy = model::Proxy::clone(&config.proxies[0]);
    proxy.fingerprint += 1;
    config.proxies[0] = Arc::new(proxy);
    let after = process.apply(Arc::new(config), Instant::now());
    let backend = &after.backends[0];
    assert!(!Arc::ptr_eq(&before, backend) && backend.holds(server));
    keep_out(&process, &before, server, false);
    assert!(matches!(pick(backend, 7), Pick::Server(_)));
    keep_out(&process, &before, server, true);
    assert!(matches!(pick(backend, 7), Pick::None));
}

#[test]
fn who_comes_back_is_chosen_after_some_choices_of_others() {
    let (process, backend) = many(1_000, Balance::LeastConn);
    let back = &backend.servers()[500];
    keep_out(&process, &backend, back, true);
    backend.catch_up();
    keep_out(&process, &backend, back, false);
    // All others are busy from then on, so that the next choice falls on it as soon as it is known.
    let mut held: Vec<_> = (0..1_000).map(|n| pick(&backend, n)).collect();
    held.push(pick(&backend, 0));
    let chosen = |p: &Pick| matches!(p, Pick::Server(slot) if slot.server().id == back.id);
    assert!(held.iter().any(chosen));
}

#[test]
fn no_more_are_out_for_their_traffic_than_may_be_and_each_costs_its_part() {
    let (process, backend) = with(1_000, |side| {
        side.eject = Some(Eject {
            errors: 1,
            time: Duration::from_secs(3),
            at_most: 40,
        });
    });
    let start = backend.walks();
    let out: Vec<_> = backend
        .servers()
        .iter()
        .filter(|s| backend.eject(s, 1).is_some())
        .collect();
    assert_eq!(out.len(), 400);
    assert!(backend.walks() - start <= WALKS);
    // Those that did not fail go: of who is out some come back, so that there are always others.
    for server in backend.servers().iter().filter(|s| !s.is_ejected()) {
        keep_out(&process, &backend, server, true);
        match pick(&backend, 0) {
            Pick::Server(slot) => assert!(slot.server().schedulable()),
            _ => panic!("servers that are out keep the backend empty"),
        }
    }
    assert!(backend.serves());
    assert_eq!(backend.usable(), 400 - 160);
}
