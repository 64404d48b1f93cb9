//! Servers that take over the state of others: what one change costs, and in which order chains follow.

mod common;

use common::{process, process_with, server};
use model::{Balance, InitState, MarkedDown};
use state::health::Change;
use state::news::{Cause, Standing};
use state::{Admin, Backend, Pick, PickKey, Process, Server};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

fn only(process: &Process) -> Arc<Backend> {
    Arc::clone(&process.generation.load().backends[0])
}

fn keep_out(process: &Process, backend: &Arc<Backend>, server: &Server, out: bool) {
    let now = Instant::now();
    let before = Standing::of(backend, server);
    server.administer(Admin::FORCED_MAINT, out, now);
    process.changed(backend, server, before, Cause::Cli, now);
}

/// Puts the configuration with other servers into force.
fn reload(process: &Process, change: impl FnOnce(&mut [model::Server])) {
    let mut config = model::Config::clone(&process.generation.load().config);
    let mut proxy = model::Proxy::clone(&config.proxies[0]);
    proxy.fingerprint += 1;
    change(&mut proxy.backend.as_mut().expect("a backend").servers);
    config.proxies[0] = Arc::new(proxy);
    process.apply(Arc::new(config), Instant::now());
}

fn in_maintenance(backend: &Backend) -> usize {
    let out = |s: &&Arc<Server>| s.admin().in_maintenance();
    backend.servers().iter().filter(out).count()
}

#[test]
fn a_change_has_only_those_looked_at_who_follow() {
    let count = 5_000;
    let mut servers: Vec<_> = (1..=count).map(|id| server(id, 0)).collect();
    for follower in &mut servers[1000..] {
        follower.track = Some("s1".into());
    }
    let process = process(servers);
    let backend = only(&process);
    let walks = backend.walks();
    let [tracked, other, .., last] = backend.servers() else {
        panic!("no servers");
    };
    keep_out(&process, &backend, tracked, true);
    assert_eq!(in_maintenance(&backend), 4001);
    assert!(backend.walks() - walks <= 17, "one for 16 changes, each");
    let now = Instant::now();
    assert_eq!(process.follow(tracked, now), 4000);
    assert_eq!(process.follow(other, now), 0, "nobody follows it");
    assert_eq!(process.follow(last, now), 0, "nobody follows it");
    keep_out(&process, &backend, tracked, false);
    assert_eq!(in_maintenance(&backend), 0);
}

#[test]
fn a_chain_follows_at_once_whatever_its_order() {
    let count = 2_000;
    for backwards in [false, true] {
        let mut servers: Vec<_> = (1..=count).map(|id| server(id, 0)).collect();
        for (at, follower) in servers.iter_mut().enumerate() {
            let before = if backwards { at + 2 } else { at };
            if (1..=count as usize).contains(&before) {
                follower.track = Some(format!("b/s{before}").into());
            }
        }
        let process = process(servers);
        let backend = only(&process);
        let (first, last) = (backend.server("s1"), backend.server("s2000"));
        let mut ends = [first.expect("first"), last.expect("last")];
        if backwards {
            ends.reverse();
        }
        keep_out(&process, &backend, ends[0], true);
        assert_eq!(in_maintenance(&backend), count as usize);
        // Who is in the middle passes on what it has itself.
        keep_out(&process, &backend, ends[0], false);
        assert_eq!(in_maintenance(&backend), 0);
        let middle = backend.server("s1000").expect("in the middle");
        keep_out(&process, &backend, middle, true);
        let follow = if backwards { 999 } else { 1000 };
        assert_eq!(in_maintenance(&backend), follow + 1);
        assert!(!ends[0].admin().in_maintenance());
    }
}

#[test]
fn who_tracks_is_as_the_tracked_from_the_first_moment_of_a_configuration() {
    let mut servers: Vec<_> = (1..=3).map(|id| server(id, 0)).collect();
    servers[0].disabled = true;
    servers[1].track = Some("s1".into());
    let process = process(servers);
    assert_eq!(in_maintenance(&only(&process)), 2);
    reload(&process, |servers| {
        servers[0].disabled = false;
        servers[2].disabled = true;
        servers[1].track = Some("s3".into());
    });
    let backend = only(&process);
    let states = backend.servers().iter().map(|s| s.admin().in_maintenance());
    assert_eq!(states.collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn who_is_judged_by_nobody_any_more_is_out_no_more() {
    let mut servers: Vec<_> = (1..=3).map(|id| server(id, 0)).collect();
    servers[0].check = Some(Arc::default());
    servers[1].track = Some("s1".into());
    servers[2].track = Some("s1".into());
    let process = process(servers);
    let backend = only(&process);
    let tracked = &backend.servers()[0];
    force(&process, &backend, tracked, Change::Down);
    keep_out(&process, &backend, tracked, true);
    assert_eq!(in_maintenance(&backend), 3);
    reload(&process, |servers| servers[1].track = None);
    let backend = only(&process);
    let states = backend.servers().iter().map(|s| s.usable());
    assert_eq!(states.collect::<Vec<_>>(), [false, true, false]);
    keep_out(&process, &backend, tracked, false);
    force(&process, &backend, tracked, Change::Down);
    reload(&process, |servers| {
        servers[0].check = None;
        servers[2].track = None;
    });
    let backend = only(&process);
    assert!(backend.servers().iter().all(|s| s.usable()));
    assert_eq!(backend.choosable(), [0, 1, 2]);
}

#[test]
fn who_tracks_goes_down_with_the_tracked_when_the_maintenance_of_both_ends() {
    let mut servers: Vec<_> = (1..=2).map(|id| server(id, 0)).collect();
    servers[0].check = Some(Arc::new(model::Check {
        init: InitState::FullyDown,
        ..model::Check::default()
    }));
    servers[1].track = Some("s1".into());
    let process = process(servers);
    let backend = only(&process);
    let up = || backend.servers().iter().filter(|s| s.is_up()).count();
    assert_eq!(up(), 0);
    let tracked = &backend.servers()[0];
    force(&process, &backend, tracked, Change::Up);
    assert_eq!(up(), 2);
    keep_out(&process, &backend, tracked, true);
    assert_eq!(in_maintenance(&backend), 2);
    keep_out(&process, &backend, tracked, false);
    assert_eq!((in_maintenance(&backend), up()), (0, 0));
}

/// Sets a server's health by hand.
fn force(process: &Process, backend: &Arc<Backend>, server: &Server, to: Change) {
    let now = Instant::now();
    let before = Standing::of(backend, server);
    server.health().force(to, now);
    process.changed(backend, server, before, Cause::Cli, now);
}

#[test]
fn who_tracks_stays_as_the_tracked_when_its_own_maintenance_ends() {
    let mut servers: Vec<_> = (1..=3).map(|id| server(id, 0)).collect();
    servers[1].track = Some("s1".into());
    servers[2].track = Some("s2".into());
    let process = process(servers);
    let backend = only(&process);
    let [tracked, follower, last] = backend.servers() else {
        panic!("no servers");
    };
    force(&process, &backend, tracked, Change::Down);
    assert!(!follower.is_up() && !last.is_up());
    keep_out(&process, &backend, follower, true);
    assert!(last.admin().in_maintenance());
    keep_out(&process, &backend, follower, false);
    assert!(!follower.admin().in_maintenance() && !last.admin().in_maintenance());
    assert!(!follower.is_up() && !last.is_up());
    assert!(matches!(backend.pick(PickKey::default(), None), Pick::None));
    // Nor does an address make it better than whom it tracks.
    follower.administer(Admin::UNRESOLVED, true, Instant::now());
    follower.administer(Admin::UNRESOLVED, false, Instant::now());
    process.follow(follower, Instant::now());
    assert!(!follower.is_up());
    force(&process, &backend, tracked, Change::Up);
    assert!(follower.is_up() && last.is_up());
}

#[test]
fn servers_that_come_up_together_end_sessions_on_backup_servers_once() {
    let count = 3_000;
    let mut servers: Vec<_> = (1..=count).map(|id| server(id, 0)).collect();
    for (at, server) in servers.iter_mut().enumerate() {
        server.backup = at % 2 == 1;
        server.shutdown_backup_sessions = !server.backup;
        server.on_marked_down = Some(MarkedDown::ShutdownSessions);
    }
    let side = model::Backend {
        balance: Balance::RoundRobin,
        servers,
        ..model::Backend::default()
    };
    let process = process_with(side);
    let backend = only(&process);
    let turn_all = |out: bool| {
        let active = backend.servers().iter().filter(|s| !s.is_backup());
        active.for_each(|s| keep_out(&process, &backend, s, out));
    };
    turn_all(true);
    let Pick::Server(slot) = backend.pick(PickKey::default(), None) else {
        panic!("a backup server is left");
    };
    assert!(slot.server().is_backup());
    let backups = || backend.servers().iter().filter(|s| s.is_backup());
    let cuts = || backups().map(|s| u64::from(s.cuts.times())).sum::<u64>();
    let before = cuts();
    let session = slot.watch_cuts(Waker::noop()).expect("may be ended");
    turn_all(false);
    assert!(session.is_cut());
    let late = slot.watch_cuts(Waker::noop()).expect("may be ended");
    assert!(late.is_cut(), "it looks only now");
    assert_eq!(cuts() - before, u64::from(count) / 2, "each once");
    turn_all(true);
    turn_all(false);
    assert_eq!(cuts() - before, u64::from(count) / 2, "nobody was there");
}
