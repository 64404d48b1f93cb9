//! Places and the queue under threads: never more sessions than places, nobody forgotten.

mod common;

use common::{process, process_with, server};
use state::{Backend, Pick, PickKey, Slot};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn class(class: i32) -> state::Priority {
    state::Priority {
        class,
        ..state::Priority::default()
    }
}

/// A place, waited for in the queue when all are taken.
fn place(backend: &Arc<Backend>) -> Slot {
    match backend.pick(PickKey::default(), None) {
        Pick::Server(slot) => slot,
        Pick::None => panic!("the servers are usable"),
        Pick::Full(wanted) => {
            let mut ticket = backend.enqueue(wanted.as_ref(), class(0));
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let end = Instant::now() + Duration::from_secs(20);
            loop {
                if let Poll::Ready(slot) = ticket.poll(&waker) {
                    return slot;
                }
                assert!(Instant::now() < end, "a waiter was forgotten");
                std::thread::park_timeout(Duration::from_secs(5));
            }
        }
    }
}

#[test]
fn places_are_never_given_twice_and_no_waiter_is_forgotten() {
    let process = process(vec![server(1, 2), server(2, 1)]);
    let generation = process.generation.load_full();
    let backend = generation.backend("b").expect("the backend").clone();
    let inside = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let served = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (backend, inside, served) = (backend.clone(), inside.clone(), served.clone());
            std::thread::spawn(move || {
                for _ in 0..500 {
                    let slot = place(&backend);
                    let id = slot.server().id;
                    let count = &inside[id as usize - 1];
                    let limit = if id == 1 { 2 } else { 1 };
                    assert!(
                        count.fetch_add(1, SeqCst) < limit,
                        "server {id} has too many"
                    );
                    std::thread::yield_now();
                    count.fetch_sub(1, SeqCst);
                    served.fetch_add(1, SeqCst);
                    drop(slot);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread failed");
    }
    assert_eq!(served.load(SeqCst), 4000);
    assert_eq!(backend.queued().now(), 0);
    assert!(backend.servers().iter().all(|s| s.sessions.now() == 0));
}

#[test]
fn who_leaves_the_queue_passes_the_place_on() {
    let process = process(vec![server(1, 1)]);
    let backend = process
        .generation
        .load()
        .backend("b")
        .expect("the backend")
        .clone();
    let held = place(&backend);
    let gone = backend.enqueue(None, class(0));
    let mut stays = backend.enqueue(None, class(0));
    assert_eq!((gone.position(), stays.position()), (0, 1));
    drop(held);
    // The first has been granted the place and leaves without taking it.
    drop(gone);
    assert!(stays.poll(Waker::noop()).is_ready());
}

#[test]
fn a_lower_priority_value_goes_first() {
    let process = process(vec![server(1, 1)]);
    let backend = process
        .generation
        .load()
        .backend("b")
        .expect("the backend")
        .clone();
    let held = place(&backend);
    let mut late = backend.enqueue(None, class(5));
    let mut urgent = backend.enqueue(None, class(-5));
    drop(held);
    assert!(late.poll(Waker::noop()).is_pending() && urgent.poll(Waker::noop()).is_ready());
}

#[test]
fn a_reload_keeps_a_servers_weight_and_state_and_forgets_those_that_left() {
    let process = process(vec![server(1, 1), server(2, 1)]);
    let before = process.generation.load_full();
    let old = before
        .backend("b")
        .expect("the backend")
        .server("s1")
        .expect("s1")
        .clone();
    old.set_weight(7);
    old.change_admin(state::Admin::FORCED_MAINT, true);
    let mut config = (*before.config).clone();
    let mut proxy = (*config.proxies[0]).clone();
    proxy
        .backend
        .as_mut()
        .expect("a backend")
        .servers
        .swap(0, 1);
    proxy
        .backend
        .as_mut()
        .expect("a backend")
        .servers
        .truncate(2);
    config.proxies = vec![Arc::new(proxy)];
    let after = process.apply(Arc::new(config), Instant::now());
    let new = after
        .backend("b")
        .expect("the backend")
        .server("s1")
        .expect("s1")
        .clone();
    assert!(
        Arc::ptr_eq(&old, &new),
        "a server is its backend and name, not its place"
    );
    assert_eq!((new.weight(), new.admin().in_maintenance()), (7, true));
}

#[test]
fn a_computed_cookie_is_the_one_that_haproxy_computes() {
    let mut one = server(1, 0);
    one.address = model::Address::from_socket(std::net::SocketAddr::from(([127, 0, 0, 1], 28204)));
    let mut named = server(2, 0);
    named.cookie = Some("named".into());
    let process = process_with(model::Backend {
        servers: vec![one, named],
        cookie: Some(Arc::new(model::PersistenceCookie {
            dynamic: true,
            ..model::PersistenceCookie::default()
        })),
        dynamic_cookie_key: Some("k".into()),
        ..model::Backend::default()
    });
    let generation = process.generation.load_full();
    let backend = generation.backend("b").expect("the backend");
    let names: Vec<_> = backend
        .servers()
        .iter()
        .map(|s| backend.cookie_of(s))
        .collect();
    assert_eq!(names[0].as_deref(), Some("802254cf4d6b90a1"));
    assert_eq!(names[1].as_deref(), Some("named"));
    let named = |value: &str| {
        backend
            .by_cookie(value.as_bytes())
            .map(|s| s.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(named("802254cf4d6b90a1"), [1]);
    assert_eq!(named("named"), [2]);
    assert!(named("x").is_empty());
}
