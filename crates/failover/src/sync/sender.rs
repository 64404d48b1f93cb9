//! The active router's side.

use super::frame::{Change, Channel, Frame, VERSION};
use super::{Broken, Limits, Table};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// What a change costs in the window, beside its key and value.
const OVERHEAD: usize = 64;

/// Bytes of entries or changes in one frame, about.
const FRAME: usize = 256 << 10;

/// Sends a table and its changes to one receiver.
#[derive(Debug)]
pub struct Sender {
    limits: Limits,
    /// Of this table in this process: a receiver that knows another life has another table.
    life: u64,
    /// The last number given.
    last: u64,
    /// Changes not acknowledged, by number.
    window: BTreeMap<u64, Change>,
    /// The number of the change of each key in the window.
    numbers: HashMap<Vec<u8>, u64>,
    bytes: usize,
    /// Changes up to this one may be missing from the window.
    forgotten: u64,
    talk: Option<Talk>,
}

/// One conversation.
#[derive(Debug)]
struct Talk {
    channel: Channel,
    phase: Phase,
    /// The last change that was sent.
    sent: u64,
    /// When something was last sent and heard.
    spoke: Instant,
    heard: Instant,
    /// Since when a change waits for its frame.
    waiting: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The receiver has not said yet what it has.
    Hello,
    /// It needs a snapshot.
    Begin,
    /// A snapshot is on its way; the last key that was sent.
    Snapshot(Option<Vec<u8>>),
    Changes,
}

impl Sender {
    /// For a table of which nothing was sent yet. `life` is random, and not 0.
    pub fn new(life: u64, limits: Limits) -> Sender {
        Sender {
            limits,
            life: life.max(1),
            last: 0,
            window: BTreeMap::new(),
            numbers: HashMap::new(),
            bytes: 0,
            forgotten: 0,
            talk: None,
        }
    }

    /// Begins a conversation: bytes to send first are appended. `nonce` is random.
    pub fn connected(
        &mut self,
        table: &dyn Table,
        key: &[u8],
        nonce: [u8; 16],
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let mut channel = Channel::new(key, true, nonce);
        let hello = Frame::Hello {
            version: VERSION,
            table: (table.kind(), table.layout()),
            nonce,
            life: self.life,
            last: self.last,
        };
        channel.write(&hello, out);
        self.talk = Some(Talk {
            channel,
            phase: Phase::Hello,
            sent: 0,
            spoke: now,
            heard: now,
            waiting: None,
        });
    }

    /// The connection is gone; changes are kept for the next one, within the bounds.
    pub fn disconnected(&mut self) {
        self.talk = None;
    }

    /// An entry is new or has another value, or (without one) is no more.
    pub fn changed(&mut self, key: &[u8], value: Option<&[u8]>, now: Instant) {
        self.last += 1;
        if let Some(number) = self.numbers.remove(key) {
            self.forget(number);
        }
        let change = Change {
            number: self.last,
            key: key.to_vec(),
            value: value.map(<[u8]>::to_vec),
        };
        self.bytes += cost(&change);
        self.numbers.insert(change.key.clone(), self.last);
        self.window.insert(self.last, change);
        if self.bytes > self.limits.window {
            self.overflow();
        }
        if let Some(talk) = &mut self.talk {
            talk.waiting.get_or_insert(now);
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(change) = self.window.remove(&number) {
            self.bytes -= cost(&change);
            if self.numbers.get(&change.key) == Some(&number) {
                self.numbers.remove(&change.key);
            }
        }
    }

    /// More changed than may wait: the window is emptied, and the table sent anew.
    fn overflow(&mut self) {
        self.window.clear();
        self.numbers.clear();
        self.bytes = 0;
        self.forgotten = self.last;
        if let Some(talk) = &mut self.talk
            && talk.phase != Phase::Hello
        {
            talk.phase = Phase::Begin;
        }
    }

    /// Bytes came from the receiver; an error ends the conversation.
    pub fn received(
        &mut self,
        table: &dyn Table,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(), Broken> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        talk.channel.feed(bytes);
        talk.heard = now;
        let mut heard = Vec::new();
        let over = loop {
            match talk.channel.read() {
                Ok(Some(frame)) => heard.push(frame),
                Ok(None) => break Ok(()),
                Err(broken) => break Err(broken),
            }
        };
        for frame in heard {
            self.hear(table, frame)?;
        }
        over
    }

    fn hear(&mut self, table: &dyn Table, frame: Frame) -> Result<(), Broken> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        match frame {
            Frame::Hello { table: theirs, .. } if theirs != (table.kind(), table.layout()) => {
                Err(Broken::Table(theirs.0, theirs.1))
            }
            Frame::Hello { life, last, .. } => {
                let resumes = life == self.life && (self.forgotten..=self.last).contains(&last);
                talk.sent = last;
                talk.phase = if resumes {
                    Phase::Changes
                } else {
                    Phase::Begin
                };
                if resumes {
                    self.acknowledged(last);
                }
                Ok(())
            }
            Frame::Ack(number) if number <= self.last => {
                self.acknowledged(number);
                Ok(())
            }
            Frame::Alive => Ok(()),
            _ => Err(Broken::Frame),
        }
    }

    fn acknowledged(&mut self, number: u64) {
        self.forgotten = self.forgotten.max(number);
        let later = self.window.split_off(&(number + 1));
        for (number, change) in std::mem::replace(&mut self.window, later) {
            self.bytes -= cost(&change);
            if self.numbers.get(&change.key) == Some(&number) {
                self.numbers.remove(&change.key);
            }
        }
    }

    /// Appends what is due to `out`, a few frames at most: to be called again when they are sent,
    /// and at [`Sender::deadline`]. An error ends the conversation.
    pub fn produce(
        &mut self,
        table: &dyn Table,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        if now >= talk.heard + self.limits.patience {
            return Err(Broken::Silent);
        }
        let before = out.len();
        if talk.phase == Phase::Begin {
            // The snapshot shows all changes so far; later ones follow it.
            self.window.clear();
            self.numbers.clear();
            self.bytes = 0;
            self.forgotten = self.last;
            talk.channel.write(&Frame::Begin { number: self.last }, out);
            talk.phase = Phase::Snapshot(None);
            talk.sent = self.last;
        }
        if let Phase::Snapshot(after) = &mut talk.phase {
            let entries = table.walk(after.as_deref(), self.limits.batch);
            match entries.last() {
                Some((key, _)) => {
                    *after = Some(key.clone());
                    for part in parts(entries, |(k, v)| k.len() + v.len()) {
                        talk.channel.write(&Frame::Entries(part), out);
                    }
                }
                None => {
                    talk.channel.write(&Frame::Complete, out);
                    talk.phase = Phase::Changes;
                }
            }
        } else if talk.phase == Phase::Changes {
            let due = talk.waiting.is_none_or(|t| now >= t + self.limits.linger);
            let waiting = self.window.range(talk.sent.saturating_add(1)..);
            let batch: Vec<Change> = waiting
                .take(self.limits.batch)
                .map(|(_, c)| c.clone())
                .collect();
            let full = batch.len() >= self.limits.batch;
            if !batch.is_empty() && (due || full) {
                talk.sent = batch.last().map_or(talk.sent, |c| c.number);
                for part in parts(batch, cost) {
                    talk.channel.write(&Frame::Changes(part), out);
                }
                talk.waiting = full.then_some(now);
            }
        }
        if out.len() == before
            && now >= talk.spoke + self.limits.patience / 3
            && talk.phase != Phase::Hello
        {
            talk.channel.write(&Frame::Alive, out);
        }
        if out.len() > before {
            talk.spoke = now;
        }
        Ok(())
    }

    /// When [`Sender::produce`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let talk = self.talk.as_ref()?;
        let alive = (talk.spoke + self.limits.patience / 3).min(talk.heard + self.limits.patience);
        Some(match &talk.phase {
            Phase::Begin | Phase::Snapshot(_) => talk.spoke,
            Phase::Hello => talk.heard + self.limits.patience,
            Phase::Changes => talk
                .waiting
                .map_or(alive, |t| alive.min(t + self.limits.linger)),
        })
    }

    /// Whether the receiver has everything but what changed just now.
    pub fn is_in_step(&self) -> bool {
        self.talk
            .as_ref()
            .is_some_and(|t| t.phase == Phase::Changes)
            && self.window.is_empty()
    }

    /// Bytes of changes that wait.
    pub fn backlog(&self) -> usize {
        self.bytes
    }
}

fn cost(change: &Change) -> usize {
    OVERHEAD + change.key.len() + change.value.as_ref().map_or(0, Vec::len)
}

/// Cuts a list so that no part is longer than a frame should be.
fn parts<T>(all: Vec<T>, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for one in all {
        let more = size(&one);
        if bytes + more > FRAME && bytes > 0 {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        if let Some(part) = parts.last_mut() {
            part.push(one);
        }
    }
    parts
}
