//! Names of servers, kept resolved: one task for each name that servers wish for, whatever
//! configuration is in force. All of them run on the first worker.

use crate::resolve::{self, Failure};
use crate::worker::Worker;
use model::{LogLevel, names_service};
use state::health::CheckStatus;
use state::names::{self, Known, Loss, Place, Turn, Turned, Wish};
use state::{Backend, Generation, Resolvers};
use std::cell::RefCell;
use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use wire::dns::{Answer, Fault, Kind};

/// Between two looks for servers that wish for something new.
const LOOK: Duration = Duration::from_millis(250);

/// A server whose checks get no answer may have moved: its name is asked for again, but not sooner.
const HURRY: Duration = Duration::from_secs(1);

struct Names {
    worker: Rc<Worker>,
    followed: RefCell<HashSet<Wish>>,
}

/// Starts a task for each name as it comes to be wished for.
pub async fn run(worker: Rc<Worker>) {
    let names = Rc::new(Names {
        worker,
        followed: RefCell::default(),
    });
    loop {
        names.begin();
        tokio::time::sleep(LOOK).await;
    }
}

/// What is known of one name.
struct Knowledge {
    hosts: Known<IpAddr>,
    places: Known<Place>,
    /// What counts now.
    addresses: Vec<IpAddr>,
}

impl Names {
    fn begin(self: &Rc<Self>) {
        let generation = self.worker.generation();
        for backend in named(&generation) {
            for wish in backend.servers().iter().flat_map(|s| s.wishes()) {
                if self.followed.borrow_mut().insert(wish.clone()) {
                    tokio::task::spawn_local(Rc::clone(self).follow(wish));
                }
            }
        }
    }

    /// Asks for a name again and again until no server wishes for it any more.
    async fn follow(self: Rc<Self>, wish: Wish) {
        let now = Instant::now();
        let mut known = Knowledge {
            hosts: Known::new(now),
            places: Known::new(now),
            addresses: Vec::new(),
        };
        while let Some(section) = self.section_of(&wish) {
            let begin = Instant::now();
            let taken = section.settings.families;
            let kinds = wish.prefer.map(|prefer| resolve::kinds(prefer, taken));
            let kinds = kinds.unwrap_or(&[Kind::Srv]);
            let outcome = resolve::look_up(&section, &wish.name, kinds).await;
            self.take(&wish, &section, &mut known, outcome);
            loop {
                let rest = section.settings.resolve.saturating_sub(begin.elapsed());
                let hurry = begin.elapsed() >= HURRY && self.is_lost(&wish);
                if rest.is_zero() || hurry || self.section_of(&wish).is_none() {
                    break;
                }
                tokio::time::sleep(rest.min(LOOK)).await;
                // Servers that wish for it since then do not have to wait for the next answer.
                if !known.addresses.is_empty() {
                    let turned = |b: &Arc<Backend>| {
                        b.take_addresses(&wish, &known.addresses, false, Instant::now())
                    };
                    self.tell(&self.worker.generation(), turned, "DNS cache");
                }
            }
        }
        self.followed.borrow_mut().remove(&wish);
    }

    /// The section to ask, while some server wishes for this.
    fn section_of(&self, wish: &Wish) -> Option<Arc<Resolvers>> {
        let generation = self.worker.generation();
        let mut servers = named(&generation).flat_map(|b| b.servers());
        let wished = servers.any(|s| s.wishes().any(|w| w == *wish));
        let section = generation.resolvers.get(&wish.section);
        section.filter(|_| wished).cloned()
    }

    /// Whether the checks of a server that wishes for this get no connection.
    fn is_lost(&self, wish: &Wish) -> bool {
        let generation = self.worker.generation();
        let mut servers = named(&generation).flat_map(|b| b.servers());
        servers.any(|s| {
            s.health().last.status == CheckStatus::L4TimeOut && s.wishes().any(|w| w == *wish)
        })
    }

    fn take(
        self: &Rc<Self>,
        wish: &Wish,
        section: &Resolvers,
        known: &mut Knowledge,
        outcome: Result<(Answer, usize), Failure>,
    ) {
        let now = Instant::now();
        let generation = self.worker.generation();
        let hold = section.settings.hold;
        let (answer, at) = match outcome {
            Ok(answer) => answer,
            Err(failure) => {
                let (hold, loss) = match failure {
                    Failure::Silence => (hold.timeout, Loss::Timeout),
                    Failure::Said(Fault::NoName) => (hold.nx, Loss::NoName),
                    Failure::Said(Fault::Refused) => (hold.refused, Loss::Refused),
                    Failure::Said(_) => (hold.other, Loss::Other),
                };
                let holds = match wish.prefer {
                    Some(_) => known.hosts.holds(hold, now),
                    None => known.places.holds(hold, now),
                };
                if !holds {
                    known.hosts.forget();
                    known.places.forget();
                    known.addresses.clear();
                    self.tell(&generation, |b| b.lose(wish, loss, now), "");
                }
                return;
            }
        };
        let nameserver = section.settings.nameservers.get(at);
        let by = nameserver.map_or("", |n| &n.name);
        let by = format!("{}/{by}", section.settings.name);
        let moved = if names_service(&wish.name) {
            let places = answer.services.into_iter().map(|s| Place {
                host: s.host.into(),
                port: s.port,
                weight: s.weight,
                address: s.address,
            });
            let same = |a: &Place, b: &Place| a.host == b.host && a.port == b.port;
            let places = known
                .places
                .learn(places.collect(), same, hold.obsolete, now);
            let moved = self.tell(&generation, |b| b.take_places(wish, &places, now), &by);
            // Hosts of places that are new are asked for at once.
            self.begin();
            moved
        } else {
            let same = |a: &IpAddr, b: &IpAddr| a == b;
            let addresses = known
                .hosts
                .learn(answer.addresses, same, hold.obsolete, now);
            let sorted = |list: &[IpAddr]| {
                let mut list = list.to_vec();
                list.sort();
                list
            };
            let other = sorted(&addresses) != sorted(&known.addresses);
            known.addresses = addresses;
            let addresses = &known.addresses;
            let change = |b: &Arc<Backend>| b.take_addresses(wish, addresses, other, now);
            self.tell(&generation, change, &by)
        };
        if let Some(counters) = section.counters.get(at) {
            counters.update.fetch_add(moved, Relaxed);
        }
    }

    /// Changes servers of all backends and tells of it; returns how many addresses changed.
    fn tell(
        &self,
        generation: &Generation,
        change: impl Fn(&Arc<Backend>) -> Vec<Turned>,
        by: &str,
    ) -> u64 {
        let now = Instant::now();
        let mut moved = 0;
        for backend in named(generation) {
            let served = backend.serves();
            let news = |level, text| self.worker.process.news.tell(backend.proxy(), level, text);
            for turned in change(backend) {
                moved += u64::from(matches!(turned.1, Turn::Moved { .. }));
                for (level, text) in names::lines(backend, &turned, by) {
                    news(level, text);
                }
                self.worker.process.follow(&turned.0, now);
            }
            if served && !backend.serves() {
                news(LogLevel::Emerg, state::news::deserted(backend));
            }
        }
        moved
    }
}

/// The backends with servers whose names are resolved.
fn named(generation: &Generation) -> impl Iterator<Item = &Arc<Backend>> {
    let sections = !generation.resolvers.is_empty();
    let backends = generation.backends.iter().filter(move |_| sections);
    backends.filter(|b| b.resolves_names())
}
