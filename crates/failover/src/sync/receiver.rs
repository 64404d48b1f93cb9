//! The backup's side.

use super::frame::{Channel, Frame, VERSION};
use super::{Broken, Copy, Limits};
use std::time::Instant;

/// Acknowledged at the latest after so many changes.
const SOON: u64 = 1024;

/// What came of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Entries and changes taken over.
    pub taken: usize,
    /// Whether the copy became whole: a snapshot was completed, or the sender resumed.
    pub whole: bool,
}

/// Keeps a copy of the sender's table.
#[derive(Debug)]
pub struct Receiver {
    limits: Limits,
    table: (u16, u16),
    /// Of which life it has a copy, and up to which change; 0: none.
    life: u64,
    last: u64,
    /// Where the changes begin that follow the snapshot that is coming in.
    snapshot: Option<u64>,
    talk: Option<Talk>,
}

#[derive(Debug)]
struct Talk {
    channel: Channel,
    greeted: bool,
    /// The sender's life.
    life: u64,
    acknowledged: u64,
    spoke: Instant,
    heard: Instant,
}

impl Receiver {
    /// Without a copy of anything; for a table of this kind and layout.
    pub fn new(table: (u16, u16), limits: Limits) -> Receiver {
        Receiver {
            limits,
            table,
            life: 0,
            last: 0,
            snapshot: None,
            talk: None,
        }
    }

    /// A sender has connected. `nonce` is random.
    pub fn connected(&mut self, key: &[u8], nonce: [u8; 16], now: Instant) {
        self.talk = Some(Talk {
            channel: Channel::new(key, false, nonce),
            greeted: false,
            life: 0,
            acknowledged: 0,
            spoke: now,
            heard: now,
        });
    }

    /// The connection is gone. A snapshot that was coming in is worth nothing; everything else is
    /// where the next conversation resumes.
    pub fn disconnected(&mut self) {
        self.talk = None;
        if self.snapshot.take().is_some() {
            (self.life, self.last) = (0, 0);
        }
    }

    /// Gives up what it has: the next conversation begins with a snapshot.
    pub fn forget(&mut self) {
        self.disconnected();
        (self.life, self.last) = (0, 0);
    }

    /// Whether the copy is one of everything up to some change.
    pub fn is_whole(&self) -> bool {
        self.life != 0 && self.snapshot.is_none()
    }

    /// Bytes came from the sender. Answers are appended to `out`; an error ends the conversation.
    pub fn received(
        &mut self,
        copy: &mut dyn Copy,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Received, Broken> {
        let mut came = Received::default();
        let Some(talk) = &mut self.talk else {
            return Ok(came);
        };
        talk.channel.feed(bytes);
        talk.heard = now;
        loop {
            let Some(talk) = &mut self.talk else {
                return Ok(came);
            };
            let Some(frame) = talk.channel.read()? else {
                break;
            };
            self.hear(copy, frame, &mut came, now, out)?;
        }
        self.acknowledge(came.whole, now, out);
        Ok(came)
    }

    fn hear(
        &mut self,
        copy: &mut dyn Copy,
        frame: Frame,
        came: &mut Received,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        match frame {
            Frame::Hello {
                table, life, last, ..
            } if !talk.greeted => {
                if table != self.table {
                    return Err(Broken::Table(table.0, table.1));
                }
                talk.greeted = true;
                talk.life = life;
                // A copy of another life, or of changes that the sender never made, is none.
                if self.life != life || self.last > last {
                    (self.life, self.last) = (0, 0);
                }
                let hello = Frame::Hello {
                    version: VERSION,
                    table: self.table,
                    nonce: talk.channel.nonce(),
                    life: self.life,
                    last: self.last,
                };
                talk.channel.write(&hello, out);
                talk.spoke = now;
                talk.acknowledged = self.last;
                came.whole = self.life != 0;
            }
            _ if !talk.greeted => return Err(Broken::Frame),
            Frame::Begin { number } => {
                copy.begin();
                self.snapshot = Some(number);
                (self.life, self.last) = (0, 0);
            }
            Frame::Entries(batch) if self.snapshot.is_some() => {
                for (key, value) in batch.entries() {
                    copy.put(key, value.ok_or(Broken::Frame)?);
                    came.taken += 1;
                }
            }
            Frame::Complete => {
                self.last = self.snapshot.take().ok_or(Broken::Frame)?;
                self.life = talk.life;
                copy.complete();
                came.whole = true;
            }
            Frame::Changes { first, batch } if self.snapshot.is_none() && self.life != 0 => {
                let end = first.checked_add(batch.count()).ok_or(Broken::Frame)?;
                // Some that are here already may come again after a resumption; none may be missing.
                if first > self.last + 1 {
                    return Err(Broken::Frame);
                }
                for (number, (key, value)) in (first..end).zip(batch.entries()) {
                    if number <= self.last {
                        continue;
                    }
                    self.last = number;
                    came.taken += 1;
                    match value {
                        Some(value) => copy.put(key, value),
                        None => copy.remove(key),
                    }
                }
            }
            Frame::Alive => {}
            _ => return Err(Broken::Frame),
        }
        Ok(())
    }

    fn acknowledge(&mut self, at_once: bool, now: Instant, out: &mut Vec<u8>) {
        let whole = self.is_whole();
        let Some(talk) = self.talk.as_mut().filter(|t| t.greeted) else {
            return;
        };
        let news = self.last.saturating_sub(talk.acknowledged);
        let due = now >= talk.spoke + self.limits.linger;
        if whole && (at_once || news >= SOON || (news > 0 && due)) {
            talk.channel.write(&Frame::Ack(self.last), out);
            talk.acknowledged = self.last;
            talk.spoke = now;
        } else if now >= talk.spoke + self.limits.patience / 3 {
            talk.channel.write(&Frame::Alive, out);
            talk.spoke = now;
        }
    }

    /// Appends what is due, an acknowledgement or a sign of life.
    pub fn produce(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Broken> {
        if let Some(talk) = &self.talk
            && now >= talk.heard + self.limits.patience
        {
            return Err(Broken::Silent);
        }
        self.acknowledge(false, now, out);
        Ok(())
    }

    /// When [`Receiver::produce`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        let talk = self.talk.as_ref()?;
        let wait = match self.last > talk.acknowledged && self.is_whole() {
            true => self.limits.linger,
            false => self.limits.patience / 3,
        };
        Some((talk.spoke + wait).min(talk.heard + self.limits.patience))
    }
}
