//! One direction of a message body: from one peer to the other, as it comes.
//!
//! Bytes are read into the worker's scratch buffer and written at once; only what the receiver
//! does not take is kept, and while anything is kept nothing more is read (back-pressure). Where
//! much is to come and no TLS stands between, it passes through a kernel pipe instead.

use crate::compress::Encoder;
use crate::io::Io;
use crate::pipe::{PIPE_SIZE, Pipe};
use crate::transport::Transport;
use crate::worker::Worker;
use http::{chunk, framing};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

/// A read that waits for a head, where what follows might be spliced, asks for no more than this:
/// a large body's bytes that come with its head are copied, all others are not.
pub const HEAD_ROOM: usize = 16 * 1024;

/// A body of known length is spliced while this many bytes of it remain. For fewer, two calls cost
/// more than two copies.
pub const SPLICE_FROM: u64 = 16 * 1024;

/// The same of a chunk: behind its end follows a line that must be read.
const SPLICE_CHUNK_FROM: u64 = 256 * 1024;

/// A stream of unknown length is spliced from here on: one read brought this many bytes.
const BULK_FROM: usize = 16 * 1024;

/// ... and no more when a splice brings fewer than this: for so few bytes reading and writing
/// costs less, because a short read says that the socket is drained and a short splice does not.
const BULK_UNTIL: usize = 4 * 1024;

/// Up to this many bytes, copying two slices into one is cheaper than a call that takes both.
const JOINED: usize = 4096;

/// Where in its body a message is.
pub enum Progress {
    /// Nothing (more) to come.
    Done,
    /// This many bytes to come.
    Length(u64),
    /// Chunks to come. Boxed, because few messages have them.
    Chunked(Box<chunk::Decoder>),
    /// All until the peer ends its stream.
    UntilClose,
}

impl Progress {
    /// The start of a body framed so.
    pub fn start(body: framing::Body) -> Progress {
        match body {
            framing::Body::None | framing::Body::Length(0) => Progress::Done,
            framing::Body::Length(n) => Progress::Length(n),
            framing::Body::Chunked => Progress::Chunked(Box::new(chunk::Decoder::new())),
            framing::Body::UntilClose | framing::Body::Tunnel => Progress::UntilClose,
        }
    }

    /// The same without the trailers behind its chunks.
    pub fn without_trailers(mut self) -> Progress {
        if let Progress::Chunked(decoder) = &mut self {
            decoder.drop_trailers();
        }
        self
    }
}

/// Why a flow cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The sender ended its stream inside the body.
    SenderClosed,
    /// The sender's connection failed.
    SenderFailed,
    /// The sender broke the framing.
    Malformed,
    /// The receiver's connection failed or is closed.
    ReceiverFailed,
}

/// What a receiver has not taken yet: bytes, then those in a pipe.
#[derive(Default)]
struct Backlog {
    bytes: Vec<u8>,
    /// How many of them it has taken.
    written: usize,
    pipe: Option<Pipe>,
}

/// One direction.
pub struct Flow {
    /// Where in the body we are.
    pub progress: Progress,
    /// What waits for the receiver. Boxed, because mostly nothing does.
    backlog: Option<Box<Backlog>>,
    /// Bytes taken by the receiver.
    pub sent: u64,
    /// Bytes of body read from the sender.
    pub received: u64,
    /// Whether a flush is due before the flow is finished.
    unflushed: bool,
    /// Whether the sender brings much at a time, once that is known.
    bulk: Option<bool>,
    /// The receiver's connection ends where this flow does, and not by a reset.
    pub last: bool,
    /// The receiver does not know chunks: it gets their payload alone.
    pub unchunk: bool,
    /// Compresses the body, and gives it to the receiver in chunks.
    pub encoder: Option<Box<Encoder>>,
}

impl Flow {
    /// A flow with nothing to do yet.
    pub fn idle() -> Flow {
        Flow {
            progress: Progress::Done,
            backlog: None,
            sent: 0,
            received: 0,
            unflushed: false,
            bulk: None,
            last: false,
            unchunk: false,
            encoder: None,
        }
    }

    /// Whether everything has been read.
    pub fn is_read(&self) -> bool {
        matches!(self.progress, Progress::Done)
    }

    /// Whether everything has been read and has left.
    pub fn finished(&self) -> bool {
        self.is_read() && self.drained()
    }

    /// Whether nothing waits for the receiver.
    pub fn drained(&self) -> bool {
        self.backlog.is_none() && !self.unflushed
    }

    /// Forgets what waits, for a retry that sends from the start.
    pub fn restart(&mut self, worker: &Worker) {
        if let Some(backlog) = self.backlog.take() {
            worker.recycle(backlog.bytes);
        }
        self.unflushed = false;
    }

    /// Writes two slices now, as far as the receiver takes them, and keeps the rest.
    pub fn push(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        to: &mut Transport,
        first: &[u8],
        second: &[u8],
    ) -> Result<(), Broken> {
        let total = first.len() + second.len();
        if total == 0 {
            return Ok(());
        }
        if self.last && matches!(self.progress, Progress::Done) {
            to.socket().end_follows();
        }
        let mut done = 0;
        if self.backlog.is_none() {
            let taken = if second.is_empty() {
                to.poll_write(cx, &[IoSlice::new(first)])
            } else if first.is_empty() {
                to.poll_write(cx, &[IoSlice::new(second)])
            } else if total <= JOINED {
                let mut joined = worker.joined.borrow_mut();
                joined.clear();
                joined.extend_from_slice(first);
                joined.extend_from_slice(second);
                to.poll_write(cx, &[IoSlice::new(&joined)])
            } else {
                to.poll_write(cx, &[IoSlice::new(first), IoSlice::new(second)])
            };
            match taken {
                Poll::Ready(Ok(n)) => done = n,
                Poll::Ready(Err(_)) => return Err(Broken::ReceiverFailed),
                Poll::Pending => {}
            }
            self.sent += done as u64;
            self.unflushed = true;
        }
        if done < total {
            let backlog = self.backlog.get_or_insert_default();
            if backlog.bytes.capacity() == 0 {
                backlog.bytes = worker.buffer();
            }
            if done < first.len() {
                backlog.bytes.extend_from_slice(&first[done..]);
                backlog.bytes.extend_from_slice(second);
            } else {
                let rest = &second[done - first.len()..];
                backlog.bytes.extend_from_slice(rest);
            }
        }
        Ok(())
    }

    /// Writes what waits; ready when nothing does.
    pub fn poll_drain(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        to: &mut Transport,
    ) -> Poll<Result<(), Broken>> {
        if let Some(backlog) = &mut self.backlog {
            while let Some(rest) = backlog.bytes.get(backlog.written..)
                && !rest.is_empty()
            {
                match to.poll_write(cx, &[IoSlice::new(rest)]) {
                    Poll::Ready(Ok(n)) => {
                        backlog.written += n;
                        self.sent += n as u64;
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ReceiverFailed)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }
        if let Some(backlog) = self.backlog.take() {
            worker.recycle(backlog.bytes);
            if let Some(pipe) = backlog.pipe {
                ready!(self.poll_empty(pipe, worker, cx, to))?;
            }
        }
        if self.unflushed {
            match to.poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ReceiverFailed)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes bytes that were read from the sender: forwards what belongs to this body, returns
    /// how many bytes that were. What is left over belongs to the sender's next message.
    pub fn feed(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        if let Some(encoder) = self.encoder.take() {
            return self.feed_encoded(encoder, worker, cx, to, head, bytes);
        }
        let taken = match &mut self.progress {
            Progress::Done => 0,
            Progress::UntilClose => bytes.len(),
            Progress::Length(left) => {
                let n = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                if *left == 0 {
                    self.progress = Progress::Done;
                }
                n
            }
            Progress::Chunked(decoder) => {
                let mut cleaned = worker.buffer();
                let scan = if self.unchunk {
                    decoder.payload(bytes, &mut cleaned)
                } else {
                    decoder.scan(bytes, &mut cleaned)
                };
                let scan = scan.map_err(|_| Broken::Malformed)?;
                if scan.done {
                    self.progress = Progress::Done;
                }
                self.received += scan.consumed as u64;
                let forward = if scan.as_is {
                    bytes.get(..scan.consumed)
                } else {
                    None
                };
                let result = self.push(worker, cx, to, head, forward.unwrap_or(&cleaned));
                worker.recycle(cleaned);
                return result.map(|()| scan.consumed);
            }
        };
        self.received += taken as u64;
        self.push(worker, cx, to, head, bytes.get(..taken).unwrap_or_default())?;
        Ok(taken)
    }

    /// As [`Flow::feed`], through the encoder.
    fn feed_encoded(
        &mut self,
        mut encoder: Box<Encoder>,
        worker: &Worker,
        cx: &mut Context<'_>,
        to: &mut Transport,
        head: &[u8],
        bytes: &[u8],
    ) -> Result<usize, Broken> {
        let mut payload = worker.buffer();
        let taken = match &mut self.progress {
            Progress::Length(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                payload.extend_from_slice(bytes.get(..n).unwrap_or_default());
                *left -= n as u64;
                if *left == 0 {
                    self.progress = Progress::Done;
                }
                n
            }
            Progress::Chunked(decoder) => {
                let scan = decoder
                    .payload(bytes, &mut payload)
                    .map_err(|_| Broken::Malformed)?;
                if scan.done {
                    self.progress = Progress::Done;
                }
                scan.consumed
            }
            // What has no framing is not encoded.
            Progress::UntilClose | Progress::Done => 0,
        };
        self.received += taken as u64;
        let end = matches!(self.progress, Progress::Done);
        let mut out = worker.buffer();
        let encoded = encoder.encode(&payload, end, &mut out);
        let came = payload.len() as u64;
        worker.recycle(payload);
        encoded.map_err(|_| Broken::Malformed)?;
        let process = worker.process.counters.of(worker.id);
        let now = worker.millis();
        process.comp_in_rate.events(now, came);
        process.comp_out_rate.events(now, out.len() as u64);
        // It stays after the end: it has counted.
        self.encoder = Some(encoder);
        let pushed = self.push(worker, cx, to, head, &out);
        worker.recycle(out);
        pushed.map(|()| taken)
    }

    /// Moves what can be moved now. Ready when the body is complete and has left, or cannot be
    /// completed. Bytes past the body's end go to `surplus`.
    pub fn poll(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        from: &mut Transport,
        to: &mut Transport,
        surplus: &mut Vec<u8>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if !self.drained() {
                match self.poll_drain(worker, cx, to)? {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
            if matches!(self.progress, Progress::Done) {
                return Poll::Ready(Ok(()));
            }
            if let Some(moved) = self.poll_splice(worker, cx, from, to) {
                match moved? {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let mut scratch = worker.scratch.borrow_mut();
            // More room than the body needs: a short read says that the sender has no more to say,
            // and what follows the body is kept for the next message.
            match from.poll_read(cx, &mut scratch) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::SenderFailed)),
                Poll::Ready(Ok(0)) => {
                    if matches!(self.progress, Progress::UntilClose) {
                        self.progress = Progress::Done;
                        continue;
                    }
                    return Poll::Ready(Err(Broken::SenderClosed));
                }
                Poll::Ready(Ok(n)) => {
                    self.bulk = Some(n >= BULK_FROM);
                    let bytes = &scratch[..n];
                    if matches!(self.progress, Progress::UntilClose)
                        && from.plain().is_some_and(Io::is_at_end)
                    {
                        // That was all of it: the end need not be asked for.
                        self.progress = Progress::Length(n as u64);
                    }
                    let used = self.feed(worker, cx, to, &[], bytes)?;
                    surplus.extend_from_slice(&bytes[used..]);
                }
            }
        }
    }

    /// `None`: splicing is not for this flow now.
    fn poll_splice(
        &mut self,
        worker: &Worker,
        cx: &mut Context<'_>,
        from: &mut Transport,
        to: &mut Transport,
    ) -> Option<Poll<Result<(), Broken>>> {
        let (left, enough) = match &self.progress {
            Progress::Length(left) => (*left, self.bulk != Some(false) && *left >= SPLICE_FROM),
            Progress::Chunked(decoder) => {
                let left = decoder.remaining();
                (left, left >= SPLICE_CHUNK_FROM)
            }
            Progress::UntilClose => (u64::MAX, self.bulk == Some(true)),
            Progress::Done => (0, false),
        };
        if !enough || self.encoder.is_some() || to.plain().is_none() {
            return None;
        }
        let source = from.plain()?;
        let mut pipe = worker.pipe()?;
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(PIPE_SIZE);
        let n = match source.poll_splice_in(cx, pipe.into.as_raw_fd(), want) {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(e)) => {
                worker.recycle_pipe(pipe);
                // Some socket types cannot be spliced: read and write will do.
                if e.raw_os_error() == Some(libc::EINVAL) {
                    return None;
                }
                return Some(Poll::Ready(Err(Broken::SenderFailed)));
            }
            Poll::Pending => {
                worker.recycle_pipe(pipe);
                return Some(Poll::Pending);
            }
        };
        if n == 0 {
            worker.recycle_pipe(pipe);
            if matches!(self.progress, Progress::UntilClose) {
                self.progress = Progress::Done;
                return Some(Poll::Ready(Ok(())));
            }
            return Some(Poll::Ready(Err(Broken::SenderClosed)));
        }
        self.bulk = Some(n >= BULK_UNTIL);
        pipe.held = n;
        self.received += n as u64;
        match &mut self.progress {
            Progress::Length(left) => {
                *left -= n as u64;
                if *left == 0 {
                    self.progress = Progress::Done;
                }
            }
            Progress::Chunked(decoder) => decoder.skip(n as u64),
            Progress::UntilClose | Progress::Done => {}
        }
        Some(match self.poll_empty(pipe, worker, cx, to) {
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
        })
    }

    /// Moves what a pipe holds to the receiver; what it does not take waits.
    fn poll_empty(
        &mut self,
        mut pipe: Pipe,
        worker: &Worker,
        cx: &mut Context<'_>,
        to: &mut Transport,
    ) -> Poll<Result<(), Broken>> {
        let Some(sink) = to.plain() else {
            return Poll::Ready(Err(Broken::ReceiverFailed));
        };
        while pipe.held > 0 {
            match sink.poll_splice_out(cx, pipe.out.as_raw_fd(), pipe.held) {
                Poll::Ready(Ok(n)) => {
                    pipe.held = pipe.held.saturating_sub(n);
                    self.sent += n as u64;
                    let counters = worker.process.counters.of(worker.id);
                    counters.spliced_out.add(n as u64);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::ReceiverFailed)),
                Poll::Pending => {
                    self.backlog.get_or_insert_default().pipe = Some(pipe);
                    return Poll::Pending;
                }
            }
        }
        worker.recycle_pipe(pipe);
        Poll::Ready(Ok(()))
    }

    /// Gives the buffers back.
    pub fn recycle(&mut self, worker: &Worker) {
        if let Some(backlog) = self.backlog.take() {
            worker.recycle(backlog.bytes);
            if let Some(pipe) = backlog.pipe {
                worker.recycle_pipe(pipe);
            }
        }
    }
}
