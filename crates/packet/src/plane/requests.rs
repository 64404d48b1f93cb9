//! What the programs ask of user space, and what another thread asks of the plane.

use super::{Plane, set};
use crate::abi;
use crate::copies::{self, Copies};
use crate::kernel::{Error, Kernel, because};
use crate::table::Shared;
use state::Process;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Plane {
    /// What copies sessions to another machine and from there. There is one for each plane.
    pub fn copies(&mut self, process: &Process) -> Result<Copies, Error> {
        let news = self.kernel.take("news");
        let news = news.ok_or_else(|| Error("sessions are copied already".into()))?;
        let shared = |kernel: &Kernel, name: &str, count: u32| {
            let table = kernel.descriptor(name)?;
            Shared::new(table.as_fd(), count as usize)
                .map_err(|e| because(format!("table '{name}'"), &e))
        };
        let servers = self.kernel.servers()?.len();
        Ok(Copies::new(
            copies::ring(news)?,
            shared(&self.kernel, "news_lost", 1)?,
            self.kernel.descriptor("flows")?,
            shared(&self.kernel, "live", servers)?,
            Arc::clone(&self.exchange),
            Arc::clone(&process.replication),
        ))
    }

    /// Neighbours that packets wait for.
    pub fn find_neighbours(&mut self) -> Result<(), Error> {
        let mut table = self.kernel.wanted()?;
        let wanted: Vec<_> = table.keys().flatten().collect();
        for who in wanted {
            self.ways.look_for(abi::ip(&who.ip), who.ifindex);
            set(table.remove(&who))?;
        }
        Ok(())
    }
}
