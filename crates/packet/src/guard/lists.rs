//! Lists of sources, followed as they change.

use super::abi::{Chunk, LENGTHS6, Length, Net};
use super::trie;
use crate::abi::{self, Address};
use rules::PatternList;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Lists that there are bits for.
pub const LISTS: usize = 31;

/// Prefixes of IPv4 up to this many bits are expanded.
const EXPANDED: u32 = 96 + 24;

/// What follows which lists, and what stands in them.
#[derive(Default)]
pub struct Lists {
    /// By bit: the list, and how many of its changes are in `nets`.
    followed: Vec<(Arc<PatternList>, u64)>,
    /// Hosts and prefixes, each with the lists that name it.
    nets: HashMap<Net, u32>,
    /// What a list names more than once: one less is none the less there.
    doubled: HashSet<(Net, u32)>,
}

/// What is to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything is new.
    pub all: bool,
    /// Prefixes have changed.
    pub prefixes: bool,
    /// Hosts that have changed, with the lists that name them now.
    pub hosts: Vec<(Address, u32)>,
}

/// Prefixes that are looked up by their lengths.
pub struct Nets {
    /// Each with the lists that name it.
    pub entries: Vec<(Net, u32)>,
    /// The lengths that those of IPv4 have,
    pub four: Vec<Length>,
    /// and those of IPv6.
    pub six: Vec<Length>,
    /// What there is no room for, in a sentence.
    pub fault: Option<String>,
}

/// What a line of a list means.
fn net(key: &str) -> Option<Net> {
    let (ip, bits) = rules::network(key)?;
    let bits = u32::from(bits) + if ip.is_ipv4() { 96 } else { 0 };
    let mask = Length::new(bits as u8).mask;
    let mut address = abi::address(ip);
    address.iter_mut().zip(mask).for_each(|(a, m)| *a &= m);
    Some(Net { address, bits })
}

impl Lists {
    /// Brings what is known to what these lists, by their bits, say now.
    pub fn follow(&mut self, lists: &[Arc<PatternList>]) -> Changes {
        let same = self.followed.len() == lists.len()
            && self
                .followed
                .iter()
                .zip(lists)
                .all(|((a, _), b)| Arc::ptr_eq(a, b));
        if !same {
            return self.read(lists);
        }
        let mut changes = Changes::default();
        let mut touched = HashSet::new();
        for at in 0..self.followed.len() {
            let Some((list, seen)) = self.followed.get_mut(at) else {
                continue;
            };
            let (now, since) = list.since(*seen);
            *seen = now;
            let Some(since) = since else {
                return self.read(lists);
            };
            for (came, key) in since {
                let Some(net) = net(&key) else { continue };
                let Some(changed) = self.change(net, 1 << at, came) else {
                    return self.read(lists);
                };
                if changed {
                    touched.insert(net);
                }
            }
        }
        for net in touched {
            let lists = self.nets.get(&net).copied().unwrap_or(0);
            match net.bits {
                128 => changes.hosts.push((net.address, lists)),
                _ => changes.prefixes = true,
            }
        }
        changes
    }

    /// Notes that an entry came or went; whether that changes anything. `None`: only the whole list can
    /// tell.
    fn change(&mut self, net: Net, bit: u32, came: bool) -> Option<bool> {
        let lists = self.nets.entry(net).or_insert(0);
        let there = *lists & bit != 0;
        if came {
            *lists |= bit;
            if there {
                self.doubled.insert((net, bit));
            }
        } else {
            if self.doubled.contains(&(net, bit)) {
                return None;
            }
            *lists &= !bit;
            if *lists == 0 {
                self.nets.remove(&net);
            }
        }
        Some(there != came)
    }

    /// Reads all lists anew.
    fn read(&mut self, lists: &[Arc<PatternList>]) -> Changes {
        self.nets.clear();
        self.doubled.clear();
        self.followed.clear();
        for (at, list) in lists.iter().take(LISTS).enumerate() {
            // What changes between these two is read twice, which only costs reading all again one day.
            let (seen, _) = list.since(0);
            for (_, entry) in list.entries(None) {
                if let Some(net) = net(&entry.key) {
                    self.change(net, 1 << at, true);
                }
            }
            self.followed.push((Arc::clone(list), seen));
        }
        Changes {
            all: true,
            ..Changes::default()
        }
    }

    /// Addresses and the lists that name them.
    pub fn hosts(&self) -> impl Iterator<Item = (Address, u32)> {
        let hosts = self.nets.iter().filter(|(net, _)| net.bits == 128);
        hosts.map(|(net, lists)| (net.address, *lists))
    }

    /// The expanded prefixes of IPv4; empty where there are none.
    pub fn chunks(&self) -> Vec<Chunk> {
        let four = self.nets.iter().filter(|(net, _)| is_expanded(net));
        let four: Vec<_> = four
            .map(|(net, lists)| {
                let [.., a, b, c, d] = net.address;
                let address = u32::from_be_bytes([a, b, c, d]);
                (address, (net.bits - 96) as u8, *lists)
            })
            .collect();
        if four.is_empty() {
            return Vec::new();
        }
        trie::chunks(four)
    }

    /// The other prefixes.
    pub fn nets(&self) -> Nets {
        let others = self.nets.iter();
        let others = others.filter(|(net, _)| net.bits != 128 && !is_expanded(net));
        let mut nets: Vec<(Net, u32)> = others.map(|(n, l)| (*n, *l)).collect();
        let mut lengths: BTreeMap<(bool, u32), usize> = BTreeMap::new();
        for (net, _) in &nets {
            *lengths.entry((is_ipv4(net), net.bits)).or_default() += 1;
        }
        // The rarest lengths of IPv6 give way.
        let mut six: Vec<(usize, u32)> = lengths
            .iter()
            .filter(|((four, _), _)| !four)
            .map(|((_, bits), n)| (*n, *bits))
            .collect();
        six.sort_unstable();
        let gone: Vec<u32> = six.iter().rev().skip(LENGTHS6).map(|(_, b)| *b).collect();
        nets.retain(|(net, _)| is_ipv4(net) || !gone.contains(&net.bits));
        let of = |family: bool| {
            let all = lengths
                .keys()
                .filter(|(four, bits)| *four == family && (family || !gone.contains(bits)));
            all.map(|(_, bits)| Length::new(*bits as u8)).collect()
        };
        let said = (!gone.is_empty()).then(|| {
            format!(
                "lists of the guard have IPv6 prefixes of more than {LENGTHS6} lengths: those of {} bits are not looked at, write wider or narrower ones",
                gone.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
            )
        });
        Nets {
            four: of(true),
            six: of(false),
            entries: nets,
            fault: said,
        }
    }
}

/// Whether it is one of IPv4: within `::ffff:0:0/96`.
fn is_ipv4(net: &Net) -> bool {
    net.bits >= 96
        && net
            .address
            .starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

fn is_expanded(net: &Net) -> bool {
    is_ipv4(net) && net.bits <= EXPANDED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Arc<PatternList> {
        let entries: Vec<String> = entries.iter().map(|e| e.to_string()).collect();
        PatternList::alone(&entries)
    }

    fn host(text: &str) -> Address {
        abi::address(text.parse().expect("an address"))
    }

    #[test]
    fn hosts_come_and_go_one_by_one() {
        let lists = [list(&["192.0.2.1"]), list(&["192.0.2.1", "2001:db8::1"])];
        let mut known = Lists::default();
        assert!(known.follow(&lists).all);
        assert_eq!(known.hosts().count(), 2);
        assert_eq!(known.follow(&lists), Changes::default());
        lists[0].add(None, &[("192.0.2.7", "")]).expect("fits");
        lists[1].remove(rules::Change::Key("192.0.2.1"));
        let mut hosts = known.follow(&lists).hosts;
        hosts.sort_unstable();
        assert_eq!(hosts, [(host("192.0.2.1"), 1), (host("192.0.2.7"), 1)]);
        lists[0].remove(rules::Change::Key("192.0.2.1"));
        assert_eq!(known.follow(&lists).hosts, [(host("192.0.2.1"), 0)]);
    }

    #[test]
    fn an_entry_that_stands_twice_goes_with_the_second() {
        let lists = [list(&["192.0.2.1", "192.0.2.1/32"])];
        let mut known = Lists::default();
        known.follow(&lists);
        lists[0].remove(rules::Change::Key("192.0.2.1"));
        assert!(known.follow(&lists).all);
        assert_eq!(known.hosts().count(), 1);
        lists[0].remove(rules::Change::Key("192.0.2.1/32"));
        assert_eq!(known.follow(&lists).hosts, [(host("192.0.2.1"), 0)]);
    }

    #[test]
    fn a_list_that_is_cleared_is_read_anew() {
        let lists = [list(&[
            "192.0.2.0/24",
            "198.51.100.128/25",
            "2001:db8::/32",
        ])];
        let mut known = Lists::default();
        known.follow(&lists);
        assert_eq!(known.chunks().len(), 257);
        let nets = known.nets();
        let lengths = (nets.four.len(), nets.six.len());
        assert_eq!((nets.entries.len(), lengths, nets.fault), (2, (1, 1), None));
        lists[0].clear(None);
        assert!(known.follow(&lists).all);
        assert!(known.chunks().is_empty() && known.nets().entries.is_empty());
    }

    #[test]
    fn a_hundred_lengths_leave_those_with_most_entries() {
        let entries: Vec<String> = (1..100).map(|bits| format!("2001:db8::/{bits}")).collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let mut known = Lists::default();
        known.follow(&[list(&entries)]);
        let nets = known.nets();
        assert_eq!((nets.entries.len(), nets.six.len()), (LENGTHS6, LENGTHS6));
        assert!(
            nets.fault
                .is_some_and(|s| s.contains("more than 24 lengths"))
        );
    }
}
