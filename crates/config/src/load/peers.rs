//! `peers` sections: who shares stick tables, and tables that belong to no proxy. Only this machine
//! can be among them yet. Nothing has to be taught by the network here: a reload keeps the entries.

use crate::address::{self, Purpose};
use crate::diag::Fault;
use crate::draft::{Line, Place};
use crate::keyword::{near, read_table};
use model::StickTable;
use std::sync::Arc;

/// A section as far as it has been read.
pub(super) struct PeersDraft {
    /// Its name.
    pub name: Arc<str>,
    /// Its first line.
    pub place: Place,
    /// `disabled`.
    pub disabled: bool,
    /// Peers by name.
    pub peers: Vec<(Arc<str>, Place)>,
    /// `table` lines; the names have the section's before them.
    pub tables: Vec<(StickTable, Place)>,
}

const WORDS: [&str; 6] = ["peer", "server", "bind", "table", "disabled", "enabled"];

impl PeersDraft {
    pub fn new(name: Arc<str>, place: Place) -> PeersDraft {
        PeersDraft {
            name,
            place,
            disabled: false,
            peers: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Reads a line of the section.
    pub fn line(&mut self, l: &mut Line<'_>) -> Result<(), Fault> {
        match l.keyword().as_str() {
            "disabled" | "enabled" => {
                l.exactly(0, "nothing")?;
                self.disabled = l.keyword() == "disabled";
                Ok(())
            }
            "bind" => {
                l.exactly(1, "an address, such as 192.0.2.1:10000")?;
                address_at(l, 0)
            }
            "peer" => {
                l.exactly(2, "a name and an address, such as one 192.0.2.1:10000")?;
                address_at(l, 1)?;
                self.peer(l)
            }
            "server" => {
                if l.args().len() > 1 {
                    l.exactly(2, "a name and an address, such as one 192.0.2.1:10000")?;
                    address_at(l, 1)?;
                } else {
                    l.exactly(1, "a name")?;
                }
                self.peer(l)
            }
            "table" => {
                if l.arg(0).is_empty() {
                    return l.fail(0, "'table' wants a name before its type");
                }
                let name: Arc<str> = format!("{}/{}", self.name, l.arg(0)).into();
                if self.tables.iter().any(|(t, _)| t.name == name) {
                    let message = format!("there is a table '{}' here already", l.arg(0));
                    return l.fail(0, message);
                }
                let (table, _) = read_table(name, l, 1, false)?;
                self.tables.push((table, l.place(0)));
                Ok(())
            }
            other @ ("default-bind" | "default-server" | "log") => {
                let message = format!("'{other}' of 'peers' is not there yet: remove it");
                Err(Fault::at(0, message))
            }
            other => Err(Fault::at(0, near("keyword of 'peers'", other, &WORDS))),
        }
    }

    fn peer(&mut self, l: &Line<'_>) -> Result<(), Fault> {
        let name: Arc<str> = l.arg(0).into();
        if self.peers.iter().any(|(n, _)| *n == name) {
            return l.fail(0, format!("there is a peer '{name}' already"));
        }
        self.peers.push((name, l.place(0)));
        Ok(())
    }
}

fn address_at(l: &Line<'_>, at: usize) -> Result<(), Fault> {
    let parsed = address::parse(l.arg(at), Purpose::Listen, None, l.source);
    l.map(at, parsed).map(|_| ())
}
