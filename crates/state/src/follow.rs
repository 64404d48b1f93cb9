//! Servers that take over the state of others (manual section 5.2, `track`): who follows whom is found
//! when a configuration comes into force, and only a change of a server has its followers looked at.

use crate::backend::Backend;
use crate::news::Standing;
use crate::server::Server;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// A server that follows another, with its backend.
type Follower = (Arc<Backend>, Arc<Server>);

/// By the uid of who is tracked: who tracks it.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    tracked: Vec<Arc<Server>>,
    by_tracked: HashMap<u32, Vec<Follower>>,
    /// By the uid of who tracks: whom.
    leaders: HashMap<u32, Arc<Server>>,
}

impl Followers {
    /// Those among the servers of `backends`; `find` knows a backend by its name.
    pub fn among<'a>(
        backends: &'a [Arc<Backend>],
        find: impl Fn(&str) -> Option<&'a Arc<Backend>>,
    ) -> Followers {
        let mut all = Followers::default();
        for backend in backends {
            for server in backend.servers() {
                let settings = server.settings();
                let Some(track) = &settings.track else {
                    continue;
                };
                let (of, name) = track.split_once('/').unwrap_or((&backend.name, track));
                let Some(tracked) = find(of).and_then(|b| b.server(name)) else {
                    continue;
                };
                let known = all.by_tracked.entry(tracked.uid).or_insert_with(|| {
                    all.tracked.push(Arc::clone(tracked));
                    Vec::new()
                });
                known.push((Arc::clone(backend), Arc::clone(server)));
                all.leaders.insert(server.uid, Arc::clone(tracked));
            }
        }
        all
    }

    /// Whether anybody follows this server.
    pub fn has(&self, tracked: &Server) -> bool {
        self.by_tracked.contains_key(&tracked.uid)
    }

    /// Has this server be as whom it tracks, if it tracks anybody, whatever has just happened to itself.
    pub fn lead(&self, server: &Server, now: Instant) {
        if let Some(tracked) = self.leaders.get(&server.uid) {
            server.follow(tracked, now);
        }
    }

    /// Has those who follow this server take over its state, and those who follow them; `turned` hears of each
    /// that changed, how it stood before and whom it follows. How many were looked at.
    pub fn follow(
        &self,
        first: &Server,
        now: Instant,
        mut turned: impl FnMut(&Arc<Backend>, &Server, Standing, &Server),
    ) -> usize {
        let mut looked = 0;
        let mut waiting = vec![first];
        while let Some(tracked) = waiting.pop() {
            let followers = self.by_tracked.get(&tracked.uid);
            for (backend, server) in followers.into_iter().flatten() {
                looked += 1;
                let before = Standing::of(backend, server);
                if server.follow(tracked, now) {
                    turned(backend, server, before, tracked);
                    waiting.push(server);
                }
            }
        }
        looked
    }

    /// The same for all who follow anybody, without telling: nothing has happened to them.
    pub fn settle(&self, now: Instant) {
        for tracked in &self.tracked {
            self.follow(tracked, now, |backend, server, _, _| {
                backend.take_change(server);
            });
        }
    }
}
