//! Tables as the control socket shows them, and which of their entries it means.

use super::layout::{self, HEADER};
use super::{NONE, Spot, Table};
use rules::stick::{Data, DataKind, KeyType};
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // names of the manual
pub enum Operator {
    Eq,
    Ne,
    Le,
    Ge,
    Lt,
    Gt,
}

/// Entries whose data compares like this are meant.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// The data; of arrays the first one.
    pub data: Data,
    /// How.
    pub operator: Operator,
    /// With what.
    pub value: i64,
}

impl Filter {
    fn holds(&self, table: &Table, entry: &[u8], now: u32) -> bool {
        let Some(cell) = table.layout.value(self.data, 0) else {
            return false;
        };
        let value = i64::try_from(layout::get(entry, cell, now)).unwrap_or(i64::MAX);
        let than = value.cmp(&self.value);
        match self.operator {
            Operator::Eq => than.is_eq(),
            Operator::Ne => than.is_ne(),
            Operator::Le => than.is_le(),
            Operator::Ge => than.is_ge(),
            Operator::Lt => than.is_lt(),
            Operator::Gt => than.is_gt(),
        }
    }
}

/// An entry as a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shown {
    /// Its key; keys of a table are in order by these bytes.
    pub key: Vec<u8>,
    /// The line, without an end.
    pub line: String,
}

impl Table {
    /// All entries that all filters mean, in the order of their keys. Each part is locked for as
    /// long as its entries are looked at.
    pub fn show(&self, filters: &[Filter], now_ms: u64) -> Vec<Shown> {
        let now = now_ms as u32;
        let mut shown = Vec::new();
        for part in 0..self.parts.len() as u32 {
            let Some(shard) = self.lock(part) else { break };
            shown.reserve(shard.len() as usize);
            for at in shard.all(&self.layout) {
                let entry = shard.entry(&self.layout, at);
                if !self.is_over(&shard, at, now)
                    && filters.iter().all(|f| f.holds(self, entry, now))
                {
                    shown.push(self.line(&shard, Spot { part, at }, now));
                }
            }
        }
        shown.sort_unstable();
        shown
    }

    /// The entry of a key.
    pub fn show_key(&self, key: &[u8], now_ms: u64) -> Option<Shown> {
        let now = now_ms as u32;
        let (shard, spot) = self.locate(key, now, super::Touch::No)?;
        Some(self.line(&shard, spot, now))
    }

    /// Removes all entries that all filters mean and nobody holds.
    pub fn clear_all(&self, filters: &[Filter], now_ms: u64) {
        let now = now_ms as u32;
        for part in 0..self.parts.len() as u32 {
            let Some(mut shard) = self.lock(part) else {
                break;
            };
            let meant = |at: &u32| {
                let entry = shard.entry(&self.layout, *at);
                shard.uses(&self.layout, *at) == 0
                    && filters.iter().all(|f| f.holds(self, entry, now))
            };
            let gone: Vec<u32> = shard.all(&self.layout).filter(meant).collect();
            for at in gone.into_iter().filter(|at| *at != NONE) {
                self.remove(&mut shard, at);
            }
        }
    }

    fn line(&self, shard: &super::Shard, spot: Spot, now: u32) -> Shown {
        let entry = shard.entry(&self.layout, spot.at);
        let key = entry.get(HEADER..HEADER + self.layout.key_len);
        let key = key.unwrap_or_default().to_vec();
        let id = u64::from(spot.part) << 32 | u64::from(spot.at);
        let uses = shard.uses(&self.layout, spot.at);
        let left = self.left(shard, spot.at, now);
        let mut line = format!("{id:#014x}: key=");
        put_key(&mut line, self.layout.key, &key);
        let _ = write!(line, " use={uses} exp={left}");
        for (stored, at) in &self.layout.cells {
            let one = stored.len() / stored.count.max(1) as usize;
            for i in 0..stored.count {
                let at = at + one * i as usize;
                let value = layout::get(entry, (*stored, at), now);
                self.put_value(&mut line, stored, i, value);
            }
        }
        Shown { key, line }
    }

    fn put_value(&self, line: &mut String, stored: &model::Stored, index: u32, value: u64) {
        let name = stored.data.name();
        let _ = match (stored.data.is_array(), stored.data.kind()) {
            (true, DataKind::Rate) => write!(line, " gpc{index}_rate({})={value}", stored.period),
            (true, _) => write!(line, " {name}{index}={value}"),
            (false, DataKind::Rate) => write!(line, " {name}({})={value}", stored.period),
            (false, DataKind::Server) => {
                let servers = self.servers();
                let place = usize::try_from(value).ok().and_then(|v| v.checked_sub(1));
                let server = place.and_then(|at| servers.get(at));
                write!(line, " {name}={}", server.map_or("-", |s| s))
            }
            (false, _) => write!(line, " {name}={value}"),
        };
    }
}

fn put_key(line: &mut String, kind: KeyType, key: &[u8]) {
    let four = || <[u8; 4]>::try_from(key).unwrap_or_default();
    let _ = match kind {
        KeyType::Ip => write!(line, "{}", Ipv4Addr::from(four())),
        KeyType::Ipv6 => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(key).unwrap_or_default());
            write!(
                line,
                "{}",
                String::from_utf8_lossy(&rules::Sample::Ip6(ip).to_text())
            )
        }
        KeyType::Integer => write!(line, "{}", u32::from_be_bytes(four())),
        KeyType::Binary => key.iter().try_for_each(|b| write!(line, "{b:02X}")),
        KeyType::String => {
            let text = key.iter().take_while(|b| **b != 0);
            text.copied().for_each(|b| put_escaped(line, b));
            Ok(())
        }
    };
}

/// Bytes that would not show, or would be taken for something else, are escaped.
fn put_escaped(line: &mut String, byte: u8) {
    match byte {
        b' ' | b'\\' | b'=' => {
            line.push('\\');
            line.push(byte.into());
        }
        b'\t' => line.push_str("\\t"),
        b'\n' => line.push_str("\\n"),
        b'\r' => line.push_str("\\r"),
        0x1b => line.push_str("\\e"),
        0x21..=0x7e => line.push(byte.into()),
        _ => {
            let _ = write!(line, "\\x{byte:02x}");
        }
    }
}
