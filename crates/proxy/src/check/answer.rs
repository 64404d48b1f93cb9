//! An HTTP answer to a check, read as far as it is looked at.

use super::dial;
use super::scene::Seen;
use crate::transport::Transport;
use http::framing::{self, Body};
use http::{Head, chunk, h1};
use state::health::{CheckStatus, Finding};

/// Bytes of an answer that are looked at.
pub const LIMIT: usize = 64 * 1024;

/// What has come of an answer.
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// What has come of its body.
    pub body: Vec<u8>,
    /// Whether no more comes.
    pub complete: bool,
    framing: Body,
    /// Whether the server would take another request on the connection, and nothing came that is not
    /// of this answer.
    keeps: bool,
    chunks: chunk::Decoder,
}

fn invalid() -> Finding {
    Finding::of(CheckStatus::L7Response)
}

impl Answer {
    /// Reads the head.
    pub async fn read(io: &mut Transport, method: &str) -> Result<Answer, Finding> {
        let mut bytes = Vec::new();
        let mut head = Head::default();
        let options = h1::ParseOptions::default();
        let used = loop {
            match h1::parse_response(&bytes, &options, &mut head) {
                Ok(Some(used)) => break used,
                Ok(None) if bytes.len() < LIMIT && dial::receive(io, &mut bytes).await? => {}
                _ => return Err(invalid()),
            }
        };
        let framed = framing::response(&mut head, method.as_bytes(), false);
        let framed = framed.map_err(|_| invalid())?;
        let mut answer = Answer {
            head,
            body: Vec::new(),
            complete: false,
            framing: framed.body,
            keeps: framed.keep_alive,
            chunks: chunk::Decoder::new(),
        };
        let rest = bytes.split_off(used);
        answer.take(&rest)?;
        Ok(answer)
    }

    /// What expressions see of it.
    pub fn seen(&mut self) -> Seen<'_> {
        Seen {
            head: Some(&mut self.head),
            bytes: &self.body,
        }
    }

    /// Reads what comes next of the body.
    pub async fn more(&mut self, io: &mut Transport) -> Result<(), Finding> {
        let mut bytes = Vec::new();
        // Behind the head a reset is the end.
        if !dial::receive(io, &mut bytes).await.unwrap_or(false) {
            (self.complete, self.keeps) = (true, false);
            return Ok(());
        }
        self.take(&bytes)
    }

    /// Reads what is left of it; whether the connection can carry another request then.
    pub async fn leaves_connection(&mut self, io: &mut Transport) -> bool {
        while self.keeps && !self.complete {
            if self.more(io).await.is_err() {
                return false;
            }
        }
        self.keeps
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        match self.framing {
            Body::None => {
                self.complete = true;
                self.keeps &= bytes.is_empty();
            }
            Body::Chunked => {
                let scan = self.chunks.payload(bytes, &mut self.body);
                let scan = scan.map_err(|_| invalid())?;
                self.complete = scan.done;
                self.keeps &= scan.consumed == bytes.len();
            }
            Body::Length(length) => {
                self.body.extend_from_slice(bytes);
                self.complete = self.body.len() as u64 >= length;
                self.keeps &= self.body.len() as u64 <= length;
            }
            Body::UntilClose | Body::Tunnel => {
                self.body.extend_from_slice(bytes);
                self.keeps = false;
            }
        }
        if self.body.len() >= LIMIT && !self.complete {
            (self.complete, self.keeps) = (true, false);
        }
        Ok(())
    }
}
