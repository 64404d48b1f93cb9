//! Servers that are taken out because their traffic fails: never so many that a backend is empty.

mod common;

use common::{process_with, server};
use model::Eject;
use proptest::prelude::*;
use state::{Admin, Pick, PickKey};
use std::time::{Duration, Instant};

proptest! {
    /// Whatever fails, comes back or goes down: while one could serve one does, and no more are out
    /// than may be.
    #[test]
    fn a_backend_is_never_emptied(
        steps in proptest::collection::vec((0u8..4, 0usize..6, 1u64..9), 1..80),
        at_most in 1u8..=100,
        backups in 0u32..3,
    ) {
        let mut servers: Vec<_> = (1..=6).map(|id| server(id, 0)).collect();
        servers.iter_mut().take(backups as usize).for_each(|s| s.backup = true);
        let process = process_with(model::Backend {
            servers,
            eject: Some(Eject { errors: 2, time: Duration::from_secs(3), at_most }),
            ..model::Backend::default()
        });
        let generation = process.generation.load_full();
        let backend = &generation.backends[0];
        let mut now = 0;
        for (what, which, later) in steps {
            now += later * 500;
            let server = &backend.servers()[which];
            match what {
                0 => {
                    if server.fails(false, 2) {
                        backend.eject(server, now);
                    }
                }
                1 => { backend.take_back(server, now); }
                2 => server.administer(Admin::FORCED_MAINT, true, Instant::now()),
                _ => server.administer(Admin::FORCED_MAINT, false, Instant::now()),
            }
            backend.refresh();
            for backup in [false, true] {
                let of = |s: &&std::sync::Arc<state::Server>| s.usable() && s.settings().backup == backup;
                let fit = backend.servers().iter().filter(of).count();
                let out = backend.servers().iter().filter(of).filter(|s| s.is_ejected()).count();
                prop_assert!(out * 100 <= fit * usize::from(at_most));
                prop_assert!(fit == 0 || out < fit);
            }
            let any = backend.servers().iter().any(|s| s.usable());
            let picked = backend.pick(PickKey::default(), None);
            match picked {
                Pick::Server(slot) => prop_assert!(!slot.server().is_ejected()),
                _ => prop_assert!(!any),
            }
        }
    }
}
