//! One conversation with a peer, after its handshake: bytes in, bytes out, no socket and no clock.

use super::entry::{self, TextsIn, TextsOut};
use state::peers::{From, PeerSection, SharedTable};
use state::stick::Table;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};
use wire::peers::{Definition, Fault, Message, Update, read, write};

/// Silence after which a sign of life is sent, and after which the other counts as gone
/// (doc/peers.txt, "heartbeat").
const HEARTBEAT: Duration = Duration::from_secs(3);
/// See above.
const SILENCE: Duration = Duration::from_secs(5);
/// Changes that follow each other faster go together.
const PACE: Duration = Duration::from_millis(10);
/// Milliseconds that a change may have waited without the other hearing of it.
const FRESH: u32 = 1000;
/// Tables of theirs that are remembered.
const TABLES: usize = 4096;

/// Who is spoken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// One who may know something: another peer, or the process that this one replaces.
    Source(From),
    /// The process that replaces this one: it is told everything, and that is all.
    Successor,
}

impl With {
    /// Whether it is told of changes of this key: where there are `shards`, not each peer is.
    fn is_told(self, settings: &model::Peers, key: &[u8]) -> bool {
        match self {
            With::Source(From::Peer(peer)) => settings.tells(peer, || state::hash::xxh64(key)),
            With::Source(_) | With::Successor => true,
        }
    }
}

/// Why a conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other does not keep to the protocol.
    Protocol,
    /// The other says that we do not.
    Accused,
    /// Nothing came for too long.
    Silent,
}

/// A conversation.
pub struct Talk {
    section: Arc<PeerSection>,
    with: With,
    ours: Vec<Ours>,
    theirs: HashMap<u64, Theirs>,
    /// Their table that updates are of.
    current: Option<u64>,
    /// Our table that was defined last.
    defined: Option<usize>,
    texts_in: TextsIn,
    texts_out: TextsOut,
    teaching: Option<Teaching>,
    at_once: usize,
    input: Vec<u8>,
    spoke: Instant,
    heard: Instant,
    /// When changes may go next.
    next: Instant,
    /// The process that replaces this one has everything.
    confirmed: bool,
    /// Of changes that cross each other, whether those of the other count: both ends agree on it.
    prevails: bool,
}

/// A table of ours.
struct Ours {
    table: Arc<Table>,
    definition: Definition,
    /// The last change that was sent.
    sent: u64,
    /// The last change that the other has confirmed.
    acked: u64,
}

/// A table of theirs.
struct Theirs {
    definition: Definition,
    /// The same one of ours, where there is one.
    ours: Option<usize>,
    /// The last update that came.
    last: u32,
    /// Whether it is still to be confirmed.
    owed: bool,
}

/// Everything that is known goes out.
struct Teaching {
    /// The table.
    table: usize,
    /// Where in its changes.
    after: u64,
}

impl Talk {
    /// A conversation whose handshake is over. Tables are those that the section shares; `at_once`:
    /// changes that are looked at in one go.
    pub fn new(
        section: Arc<PeerSection>,
        tables: &[Arc<Table>],
        with: With,
        at_once: usize,
        now: Instant,
    ) -> Talk {
        let shared = |t: &&Arc<Table>| t.peers.as_ref() == Some(&section.settings.name);
        let ours = tables
            .iter()
            .filter(shared)
            .zip(1..)
            .map(|(table, number)| Ours {
                table: Arc::clone(table),
                definition: entry::definition(table, number),
                sent: 0,
                acked: 0,
            });
        let mut talk = Talk {
            ours: ours.collect(),
            section,
            with,
            theirs: HashMap::new(),
            current: None,
            defined: None,
            texts_in: TextsIn::default(),
            texts_out: TextsOut::default(),
            teaching: (with == With::Successor).then_some(Teaching { table: 0, after: 0 }),
            at_once: at_once.max(1),
            input: Vec::new(),
            spoke: now,
            heard: now,
            next: now,
            confirmed: false,
            prevails: false,
        };
        talk.prevails = match with {
            With::Source(From::Peer(at)) => {
                let settings = &talk.section.settings;
                let other = settings.others.get(at);
                other.is_some_and(|other| other.name < settings.local)
            }
            // What this process has stored since it started is newer than what it is told.
            _ => false,
        };
        talk.resume();
        talk
    }

    /// Goes on where the conversation before ended.
    fn resume(&mut self) {
        let Some(mut peer) = self.peer_state() else {
            return;
        };
        let sent = self.ours.iter().map(|o| peer.acked.get(&o.table.name));
        let sent: Vec<u64> = sent.map(|n| n.copied().unwrap_or(0)).collect();
        peer.tables = self
            .ours
            .iter()
            .zip(&sent)
            .map(|(ours, sent)| SharedTable {
                name: Arc::clone(&ours.table.name),
                local: ours.definition.table,
                acked: *sent,
                pushed: *sent,
                ..SharedTable::default()
            })
            .collect();
        drop(peer);
        for (ours, sent) in self.ours.iter_mut().zip(sent) {
            ours.sent = sent;
            ours.acked = sent;
        }
    }

    fn peer_state(&self) -> Option<std::sync::MutexGuard<'_, state::peers::PeerState>> {
        match self.with {
            With::Source(From::Peer(at)) => self.section.peer(at),
            _ => None,
        }
    }

    /// Changes what is to be seen of a table.
    fn show(&self, table: usize, change: impl FnOnce(&mut SharedTable)) {
        if let Some(mut peer) = self.peer_state()
            && let Some(shown) = peer.tables.get_mut(table)
        {
            change(shown);
        }
    }

    /// Whether everything has been said to the process that replaces this one.
    pub fn is_over(&self) -> bool {
        self.confirmed
    }

    /// Bytes came: what they say is done, answers are appended.
    pub fn hear(
        &mut self,
        bytes: &[u8],
        now: Instant,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        self.heard = now;
        let mut input = std::mem::take(&mut self.input);
        input.extend(bytes);
        let mut rest = &input[..];
        let result = loop {
            match read(rest) {
                Ok(Some((message, taken))) => {
                    rest = rest.get(taken..).unwrap_or_default();
                    if let Err(broken) = self.message(message, now, now_ms, out) {
                        break Err(broken);
                    }
                }
                Ok(None) => break Ok(()),
                Err(fault) => {
                    let said = match fault {
                        Fault::Malformed => Message::ProtocolError,
                        Fault::TooLong => Message::SizeError,
                    };
                    write(&said, out);
                    break Err(Broken::Protocol);
                }
            }
        };
        self.input = rest.to_vec();
        self.confirm(out);
        result
    }

    fn message(
        &mut self,
        message: Message<'_>,
        now: Instant,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        match message {
            Message::Heartbeat => {
                if let Some(mut peer) = self.peer_state() {
                    let [_, received, _] = &mut peer.heartbeats;
                    *received += 1;
                }
            }
            Message::ResyncRequest => {
                // Whoever asks for everything knows nothing any more.
                self.ours.iter_mut().for_each(|o| o.acked = 0);
                self.teaching = Some(Teaching { table: 0, after: 0 });
            }
            Message::ResyncFinished | Message::ResyncPartial => {
                if let With::Source(from) = self.with {
                    let everything = message == Message::ResyncFinished;
                    self.section.resync().learnt(from, everything, now);
                }
                write(&Message::ResyncConfirm, out);
            }
            Message::ResyncConfirm => self.confirmed |= self.with == With::Successor,
            Message::ProtocolError | Message::SizeError => return Err(Broken::Accused),
            Message::Definition(definition) => self.define(definition)?,
            Message::Switch(table) => {
                if !self.theirs.contains_key(&table) {
                    write(&Message::ProtocolError, out);
                    return Err(Broken::Protocol);
                }
                self.current = Some(table);
            }
            Message::Update(update) => {
                if self.update(&update, now_ms).is_none() {
                    write(&Message::ProtocolError, out);
                    return Err(Broken::Protocol);
                }
            }
            Message::Ack { table, update } => self.acknowledged(table, update),
            Message::Other => {}
        }
        Ok(())
    }

    fn define(&mut self, mut definition: Definition) -> Result<(), Broken> {
        let number = definition.table;
        let known = self.theirs.get(&number);
        let (last, owed) = known.map_or((0, false), |t| (t.last, t.owed));
        if known.is_none() && self.theirs.len() >= TABLES {
            return Err(Broken::Protocol);
        }
        let mut ours = self.ours.iter();
        let ours = ours.position(|o| o.table.shared_name.as_bytes() == definition.name);
        let fitting = |at: &usize| {
            let ours = self.ours.get(*at);
            ours.is_some_and(|o| entry::fits(&definition, &o.table))
        };
        let ours = ours.filter(fitting);
        if let Some(at) = ours {
            self.show(at, |t| t.remote = number);
        }
        // The name has done its work, and may be long.
        definition.name = Vec::new();
        let theirs = Theirs {
            definition,
            ours,
            last,
            owed,
        };
        self.theirs.insert(number, theirs);
        self.current = Some(number);
        Ok(())
    }

    fn update(&mut self, update: &Update<'_>, now_ms: u64) -> Option<()> {
        let theirs = self.theirs.get_mut(&self.current?)?;
        theirs.last = update.number.unwrap_or(theirs.last.wrapping_add(1));
        theirs.owed = true;
        let Some(at) = theirs.ours else {
            return Some(());
        };
        let ours = self.ours.get(at)?;
        let (with, settings) = (self.with, &self.section.settings);
        let known = |key: &[u8]| with.is_told(settings, key).then_some(ours.acked);
        let lesson = entry::Lesson {
            definition: &theirs.definition,
            fields: update.fields,
            left: update.expire,
            known: &known,
            prevails: self.prevails,
        };
        entry::learn(&ours.table, &lesson, &mut self.texts_in, now_ms)
    }

    /// Confirms the updates that have come.
    fn confirm(&mut self, out: &mut Vec<u8>) {
        let mut got = Vec::new();
        for (number, theirs) in self.theirs.iter_mut().filter(|(_, t)| t.owed) {
            theirs.owed = false;
            let (table, update) = (*number, theirs.last);
            write(&Message::Ack { table, update }, out);
            got.extend(theirs.ours.map(|at| (at, update)));
        }
        for (at, update) in got {
            self.show(at, |t| t.got = update);
        }
    }

    /// What we sent has come: the next conversation goes on from there.
    fn acknowledged(&mut self, table: u64, update: u32) {
        let at = usize::try_from(table).ok().and_then(|t| t.checked_sub(1));
        let Some((at, ours)) = at.and_then(|at| Some((at, self.ours.get_mut(at)?))) else {
            return;
        };
        // The peer has the lower half of the number only.
        let behind = u64::from((ours.sent as u32).wrapping_sub(update));
        let Some(number) = ours.sent.checked_sub(behind) else {
            return;
        };
        ours.acked = ours.acked.max(number);
        let name = Arc::clone(&ours.table.name);
        self.show(at, |t| t.acked = number);
        if let Some(mut peer) = self.peer_state() {
            peer.acked.insert(name, number);
        }
    }

    /// Appends what is due; whether there may be more at once.
    pub fn speak(&mut self, now: Instant, now_ms: u64, out: &mut Vec<u8>) -> Result<bool, Broken> {
        if now >= self.heard + SILENCE {
            if let Some(mut peer) = self.peer_state() {
                let [.., missed] = &mut peer.heartbeats;
                *missed += 1;
            }
            return Err(Broken::Silent);
        }
        let before = out.len();
        if let With::Source(From::Peer(at)) = self.with
            && self.section.resync().ask(at, now)
        {
            write(&Message::ResyncRequest, out);
        }
        let mut more = false;
        if self.teaching.is_some() {
            self.teach(now_ms, out);
            more = true;
        } else if self.with != With::Successor && now >= self.next {
            for at in 0..self.ours.len() {
                more |= self.push(at, now_ms, out);
            }
            if out.len() > before {
                self.next = now + PACE;
            }
        }
        if out.len() == before && now >= self.spoke + HEARTBEAT {
            write(&Message::Heartbeat, out);
            if let Some(mut peer) = self.peer_state() {
                let [sent, ..] = &mut peer.heartbeats;
                *sent += 1;
            }
        }
        if out.len() > before {
            self.spoke = now;
        }
        Ok(more)
    }

    /// Appends changes of one of our tables; whether more wait.
    fn push(&mut self, at: usize, now_ms: u64, out: &mut Vec<u8>) -> bool {
        let Some(ours) = self.ours.get(at) else {
            return false;
        };
        let changes = ours.table.changes(ours.sent, self.at_once, false);
        let more = changes.upto < ours.table.last_change();
        self.write_entries(at, &changes.entries, false, now_ms, out);
        self.sent(at, changes.upto);
        more
    }

    fn sent(&mut self, at: usize, upto: u64) {
        if let Some(ours) = self.ours.get_mut(at) {
            ours.sent = ours.sent.max(upto);
            let sent = ours.sent;
            self.show(at, |t| t.pushed = sent);
        }
    }

    /// Appends some of everything; after the last of it says so.
    fn teach(&mut self, now_ms: u64, out: &mut Vec<u8>) {
        let Some(Teaching { table: at, after }) = self.teaching.take() else {
            return;
        };
        let Some(ours) = self.ours.get(at) else {
            let everything = self.with == With::Successor || self.section.resync().is_complete();
            let end = if everything {
                Message::ResyncFinished
            } else {
                Message::ResyncPartial
            };
            write(&end, out);
            return;
        };
        let changes = ours.table.changes(after, self.at_once, true);
        let done = changes.upto >= ours.table.last_change();
        self.write_entries(at, &changes.entries, true, now_ms, out);
        self.teaching = Some(if done {
            self.sent(at, changes.upto);
            Teaching {
                table: at + 1,
                after: 0,
            }
        } else {
            Teaching {
                table: at,
                after: changes.upto,
            }
        });
    }

    fn write_entries(
        &mut self,
        at: usize,
        entries: &[(u64, Box<[u8]>)],
        timed: bool,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) {
        let Some(ours) = self.ours.get(at) else {
            return;
        };
        // A change that is told at once makes an entry live as long there as here.
        let full = ours.table.expire_ms().saturating_sub(FRESH);
        for (number, key) in entries {
            if !self.with.is_told(&self.section.settings, key) {
                continue;
            }
            let texts = &mut self.texts_out;
            let told = entry::fields(&ours.table, &ours.definition, key, texts, now_ms);
            let Some((fields, left)) = told else { continue };
            if self.defined != Some(at) {
                write(&Message::Definition(ours.definition.clone()), out);
                self.defined = Some(at);
            }
            let update = Update {
                number: Some(*number as u32),
                expire: (timed || left < full).then_some(left),
                fields: &fields,
            };
            write(&Message::Update(update), out);
        }
    }

    /// Has the waker woken when there is something to say before [`Talk::deadline`]; `false` where
    /// there is now.
    pub fn wait(&self, waker: &Waker) -> bool {
        let waiting = |o: &Ours| o.table.wait_for_change(o.sent, waker);
        self.teaching.is_none() && (self.with == With::Successor || self.ours.iter().all(waiting))
    }

    /// When something is due even if nothing comes and nothing changes.
    pub fn deadline(&self) -> Instant {
        (self.spoke + HEARTBEAT).min(self.heard + SILENCE)
    }

    /// When changes may be sent again.
    pub fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests;
