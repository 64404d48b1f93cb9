//! The active router's side.

use super::frame::{Batch, Channel, Frame, VERSION};
use super::{Broken, Limits, Table};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of entries or changes in one frame, about.
const FRAME: usize = 64 << 10;

/// What a batch costs in the window, beside its bytes.
const OVERHEAD: usize = 64;

/// Bytes appended by one call of [`Sender::produce`], about.
const AT_ONCE: usize = 256 << 10;

/// Sends a table and its changes to one receiver.
#[derive(Debug)]
pub struct Sender {
    limits: Limits,
    /// Of this table in this process: a receiver that knows another life has another table.
    life: u64,
    /// The last number given.
    last: u64,
    /// Changes not acknowledged.
    window: VecDeque<Chunk>,
    bytes: usize,
    /// Changes up to this one may be missing from the window.
    forgotten: u64,
    talk: Option<Talk>,
}

/// Changes that are sent together.
#[derive(Debug)]
struct Chunk {
    /// The number of the first one.
    first: u64,
    batch: Batch,
    began: Instant,
}

impl Chunk {
    fn last(&self) -> u64 {
        self.first + self.batch.count() - 1
    }

    fn cost(&self) -> usize {
        OVERHEAD + self.batch.size()
    }
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
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The receiver has not said yet what it has.
    Hello,
    /// It needs a snapshot.
    Begin,
    /// A snapshot is on its way; where it goes on.
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
            window: VecDeque::new(),
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
        });
    }

    /// The connection is gone; changes are kept for the next one, within the bounds.
    pub fn disconnected(&mut self) {
        self.talk = None;
    }

    /// An entry is new or has another value, or (without one) is no more.
    pub fn changed(&mut self, key: &[u8], value: Option<&[u8]>, now: Instant) {
        self.last += 1;
        let sent = self.talk.as_ref().map_or(0, |t| t.sent);
        let before = match self.window.back() {
            Some(chunk) if chunk.first > sent && chunk.batch.size() < FRAME => chunk.cost(),
            _ => {
                self.window.push_back(Chunk {
                    first: self.last,
                    batch: Batch::default(),
                    began: now,
                });
                0
            }
        };
        if let Some(chunk) = self.window.back_mut() {
            chunk.batch.push(key, value);
            self.bytes += chunk.cost() - before;
        }
        if self.bytes > self.limits.window {
            self.restart();
        }
    }

    /// The table is sent anew: more changed than may wait, or it is another one now.
    pub fn restart(&mut self) {
        self.window.clear();
        self.bytes = 0;
        self.last += 1;
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
        while let Some(chunk) = self.window.front().filter(|c| c.last() <= number) {
            self.forgotten = chunk.last();
            self.bytes -= chunk.cost();
            self.window.pop_front();
        }
    }

    /// Appends what is due to `out`, a few frames at most: to be called again when they are sent,
    /// and at [`Sender::deadline`]. An error ends the conversation.
    pub fn produce(
        &mut self,
        table: &mut dyn Table,
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
            self.bytes = 0;
            self.forgotten = self.last;
            talk.channel.write(&Frame::Begin { number: self.last }, out);
            talk.phase = Phase::Snapshot(None);
            talk.sent = self.last;
        }
        while let Phase::Snapshot(at) = &talk.phase
            && out.len() - before < AT_ONCE
        {
            let mut parts = vec![Batch::default()];
            let next = table.walk(at.as_deref(), self.limits.batch, &mut |key, value| {
                if parts.last().is_none_or(|p| p.size() >= FRAME) {
                    parts.push(Batch::default());
                }
                if let Some(part) = parts.last_mut() {
                    part.push(key, Some(value));
                }
            });
            for part in parts.into_iter().filter(|p| p.count() > 0) {
                talk.channel.write(&Frame::Entries(part), out);
            }
            talk.phase = match next {
                Some(next) => Phase::Snapshot(Some(next)),
                None => {
                    talk.channel.write(&Frame::Complete, out);
                    Phase::Changes
                }
            };
        }
        if talk.phase == Phase::Changes {
            let from = self.window.partition_point(|c| c.last() <= talk.sent);
            for chunk in self.window.range(from..) {
                let due = now >= chunk.began + self.limits.linger || chunk.batch.size() >= FRAME;
                if !due || out.len() - before >= AT_ONCE {
                    break;
                }
                talk.sent = chunk.last();
                let changes = Frame::Changes {
                    first: chunk.first,
                    batch: chunk.batch.clone(),
                };
                talk.channel.write(&changes, out);
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
            Phase::Changes => {
                let from = self.window.partition_point(|c| c.last() <= talk.sent);
                let due = self.window.get(from).map(|c| match c.batch.size() < FRAME {
                    true => c.began + self.limits.linger,
                    false => c.began,
                });
                due.map_or(alive, |t| alive.min(t))
            }
        })
    }

    /// Whether the receiver has everything but what changed just now.
    pub fn is_in_step(&self) -> bool {
        self.talk
            .as_ref()
            .is_some_and(|t| t.phase == Phase::Changes)
            && self.window.is_empty()
    }

    /// Whether a receiver has, or is being sent, what changes.
    pub fn is_talking(&self) -> bool {
        let talk = self.talk.as_ref();
        talk.is_some_and(|t| t.phase != Phase::Hello)
    }

    /// Whether a snapshot is to be sent, or on its way.
    pub fn is_sending_all(&self) -> bool {
        let talk = self.talk.as_ref();
        talk.is_some_and(|t| matches!(t.phase, Phase::Begin | Phase::Snapshot(_)))
    }

    /// Bytes of changes that wait.
    pub fn backlog(&self) -> usize {
        self.bytes
    }

    /// How long the oldest change that was not acknowledged has been waiting.
    pub fn lag(&self, now: Instant) -> Duration {
        let oldest = self.window.front();
        oldest.map_or(Duration::ZERO, |c| now.saturating_duration_since(c.began))
    }
}
