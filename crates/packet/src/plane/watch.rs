//! What an operator should know without asking: settings of the kernel, a table that is full or of
//! another size than the file says.

use super::Plane;
use crate::kernel::Error;
use crate::settings::{self, Asks};
use model::Forward;

impl Plane {
    /// Settings of the kernel that are not as the ways to forward need them: set where the file says so,
    /// otherwise said.
    pub(super) fn watch_settings(&mut self, faults: &mut Vec<String>) {
        let asks = self.asks();
        let wrong = settings::wrong(&asks, settings::read);
        if wrong.is_empty() {
            return;
        }
        let generation = self.generation.as_ref();
        if generation.is_some_and(|g| g.config.global.tuning.sysctl_auto) {
            faults.extend(settings::set(&wrong).err().map(|e| e.0));
            return;
        }
        faults.extend(wrong.iter().map(|w| {
            format!(
                "{} is {}: {}; run 'sysctl -w {}', or write 'sysctl auto' into 'global'",
                w.dotted(),
                w.now,
                w.why,
                w.assignment()
            )
        }));
    }

    /// What the plan asks of the kernel.
    fn asks(&mut self) -> Asks {
        let mut asks = Asks::default();
        let mut direct = false;
        let mut through = false;
        for target in &self.plan.targets {
            match target.backend.side().packets.forward {
                Forward::Nat(_) | Forward::Route => match target.ip {
                    Some(ip) if ip.is_ipv6() => asks.forward6 = true,
                    Some(_) => asks.forward4 = true,
                    None => {}
                },
                Forward::Dsr => direct = true,
                _ => {}
            }
            through |= target.is_next_hop();
        }
        let names: Vec<String> = self.wanted.values().map(|w| w.name.clone()).collect();
        if direct {
            asks.silent.extend(names.iter().cloned());
        }
        if through {
            asks.loose.extend(names);
        }
        if asks.forward4 {
            // What comes and goes by one arm is no reason to tell anybody of a shorter way.
            let tagged = self.written.lanes.iter().map(|l| l.ifindex);
            let tagged = tagged.filter_map(|i| self.wanted.get(&i));
            asks.silent.extend(tagged.map(|w| w.name.clone()));
        }
        asks
    }

    /// Sessions that found no room since the last look, and a table of another size than the file says.
    pub(super) fn watch_room(&mut self, faults: &mut Vec<String>) -> Result<(), Error> {
        let generation = self.generation.as_ref();
        let asked = generation.map(|g| g.config.global.tuning.packet_flows);
        if let Some(asked) = asked.filter(|n| crate::entries(*n) != self.room) {
            faults.push(format!(
                "the session table has room for {} sessions, and 'tune.packet.flows' says {asked}: sessions that are there would be lost, so it stays; 'mulgil packet detach' and a start make it anew",
                self.room / 2
            ));
        }
        let (full, empty) = (
            self.kernel.event("table-full"),
            self.kernel.event("pool-empty"),
        );
        let (full_before, empty_before) =
            self.refused.replace((full, empty)).unwrap_or((full, empty));
        if full != full_before {
            faults.push(format!(
                "the session table is full ({} entries): {} new sessions were turned away in the last second, sessions that are there go on; raise 'tune.packet.flows', or shorten 'timeout session' and its kind",
                self.room,
                full.wrapping_sub(full_before)
            ));
        }
        if empty != empty_before {
            faults.push(
                "a pool of 'nat source' or 'snat' has no address and port left: new sessions are turned away; give it more addresses".into(),
            );
        }
        Ok(())
    }
}
