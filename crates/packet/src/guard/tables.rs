//! The guard's tables in the kernel. Each table of a list stands in one place of another table, so that it can
//! be replaced, or grow, between two packets.

use super::abi::{Chunk, Counts, Guard, Setup, has};
use super::lists::{Changes, Lists, Nets};
use crate::abi::Address;
use crate::kernel::{Error, Kernel, because};
use crate::table::{self, Kind};
use std::os::fd::{AsFd, OwnedFd};

/// Entries that are written by one call.
const BATCH: usize = 4096;

/// Room for hosts at least, so that few of them can come without a new table.
const ROOM: usize = 16_384;

/// What has been written.
#[derive(Default)]
pub struct Tables {
    hosts: Option<OwnedFd>,
    setup: Setup,
}

fn failed(e: &std::io::Error) -> Error {
    because("a list of the guard cannot be written", e)
}

/// A table of these entries, with some room.
fn made<K: aya::Pod, V: aya::Pod>(
    kind: Kind,
    entries: impl ExactSizeIterator<Item = (K, V)>,
    room: usize,
) -> Result<OwnedFd, Error> {
    let table = table::create::<K, V>(kind, entries.len().max(room)).map_err(|e| failed(&e))?;
    let mut entries = entries.peekable();
    while entries.peek().is_some() {
        let (keys, values): (Vec<K>, Vec<V>) = entries.by_ref().take(BATCH).unzip();
        if table::insert_all(table.as_fd(), &keys, &values) != keys.len() {
            return Err(Error(
                "a list of the guard does not fit into the kernel's memory".into(),
            ));
        }
    }
    Ok(table)
}

impl Tables {
    /// Writes what has changed in the lists. A sentence about what cannot be done.
    pub fn write(
        &mut self,
        kernel: &Kernel,
        lists: &Lists,
        changes: &Changes,
        minute: u32,
    ) -> Result<Option<String>, Error> {
        let mut setup = Setup {
            minute,
            ..self.setup
        };
        let mut said = None;
        if changes.all || !self.set_hosts(&changes.hosts) {
            let hosts: Vec<(Address, u32)> = lists.hosts().collect();
            setup.contents &= !has::HOSTS;
            self.hosts = None;
            if !hosts.is_empty() {
                let room = ROOM.max(hosts.len() / 4 * 5);
                let table = made(Kind::Hash, hosts.into_iter(), room)?;
                place(kernel, "guard_hosts", &table)?;
                self.hosts = Some(table);
                setup.contents |= has::HOSTS;
            }
        }
        if changes.all || changes.prefixes {
            let chunks = lists.chunks();
            setup.contents &= !(has::CHUNKS | has::NETS);
            if !chunks.is_empty() {
                let count = chunks.len();
                let chunks = (0u32..).zip(chunks).collect::<Vec<(u32, Chunk)>>();
                let table = made(Kind::Array, chunks.into_iter(), count)?;
                place(kernel, "guard_chunks", &table)?;
                setup.contents |= has::CHUNKS;
            }
            let Nets {
                entries,
                four,
                six,
                fault,
            } = lists.nets();
            said = fault;
            if !entries.is_empty() {
                let table = made(Kind::Hash, entries.into_iter(), 1)?;
                place(kernel, "guard_nets", &table)?;
                setup.contents |= has::NETS;
            }
            setup.count4 = four.len().min(setup.four.len()) as u32;
            setup.count6 = six.len().min(setup.six.len()) as u32;
            setup.four.iter_mut().zip(four).for_each(|(to, l)| *to = l);
            setup.six.iter_mut().zip(six).for_each(|(to, l)| *to = l);
        }
        if setup != self.setup || changes.all {
            let table = kernel.descriptor("guard_setup")?;
            table::put(table.as_fd(), &0u32, &setup).map_err(|e| failed(&e))?;
            self.setup = setup;
        }
        Ok(said)
    }

    /// Changes hosts in the table that there is; false where they need another.
    fn set_hosts(&self, hosts: &[(Address, u32)]) -> bool {
        let Some(table) = &self.hosts else {
            return hosts.is_empty();
        };
        hosts.iter().all(|(address, lists)| match lists {
            0 => {
                // It may never have been there.
                table::remove(table.as_fd(), address);
                true
            }
            lists => table::put(table.as_fd(), address, lists).is_ok(),
        })
    }
}

/// Puts a table where the program looks.
fn place(kernel: &Kernel, name: &str, table: &OwnedFd) -> Result<(), Error> {
    use std::os::fd::AsRawFd;
    let outer = kernel.descriptor(name)?;
    let fd = u32::try_from(table.as_raw_fd()).unwrap_or(u32::MAX);
    table::put(outer.as_fd(), &0u32, &fd).map_err(|e| failed(&e))
}

/// Writes a guard.
pub fn set_guard(kernel: &Kernel, at: u32, guard: &Guard) -> Result<(), Error> {
    let table = kernel.descriptor("guards")?;
    table::put(table.as_fd(), &at, guard).map_err(|e| because("a guard cannot be written", &e))
}

/// What a guard has done, over all processors.
pub fn counts(kernel: &mut Kernel, at: u32) -> Counts {
    let mut sum = Counts::default();
    let Ok(table) = kernel.guard_counts() else {
        return sum;
    };
    let Ok(parts) = table.get(&at, 0) else {
        return sum;
    };
    for part in parts.iter() {
        let both = sum.n.iter_mut().zip(part.n);
        both.for_each(|(sum, n)| *sum = sum.wrapping_add(n));
    }
    sum
}
