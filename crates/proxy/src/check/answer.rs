//! An HTTP answer to a check, read as far as it is looked at.

use super::dial;
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
                Ok(None) if bytes.len() < LIMIT && dial::receive(io, &mut bytes).await => {}
                _ => return Err(invalid()),
            }
        };
        let framed = framing::response(&mut head, method.as_bytes(), false);
        let mut answer = Answer {
            head,
            body: Vec::new(),
            complete: false,
            framing: framed.map_err(|_| invalid())?.body,
            chunks: chunk::Decoder::new(),
        };
        let rest = bytes.split_off(used);
        answer.take(&rest)?;
        Ok(answer)
    }

    /// Reads what comes next of the body.
    pub async fn more(&mut self, io: &mut Transport) -> Result<(), Finding> {
        let mut bytes = Vec::new();
        if !dial::receive(io, &mut bytes).await {
            self.complete = true;
            return Ok(());
        }
        self.take(&bytes)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Finding> {
        match self.framing {
            Body::None => self.complete = true,
            Body::Chunked => {
                let scan = self.chunks.payload(bytes, &mut self.body);
                self.complete = scan.map_err(|_| invalid())?.done;
            }
            Body::Length(length) => {
                self.body.extend_from_slice(bytes);
                self.complete = self.body.len() as u64 >= length;
            }
            Body::UntilClose | Body::Tunnel => self.body.extend_from_slice(bytes),
        }
        self.complete |= self.body.len() >= LIMIT;
        Ok(())
    }
}
