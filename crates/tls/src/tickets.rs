//! Session tickets under keys that a farm shares (`tls-ticket-keys`).

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use rustls::server::ProducesTickets;
use std::sync::{Arc, PoisonError, RwLock};

/// Keys in use: the last but one encrypts, all decrypt, so that a new key is known everywhere
/// before the first ticket is under it.
pub const KEYS: usize = 3;

/// One key: its name, a key of AES and one of HMAC. 48 bytes mean AES-128, 80 bytes AES-256.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey(Vec<u8>);

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

impl TicketKey {
    /// A key of 48 or 80 bytes.
    pub fn new(bytes: Vec<u8>) -> Option<TicketKey> {
        matches!(bytes.len(), 48 | 80).then_some(TicketKey(bytes))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Name, key of AES, key of HMAC.
    fn parts(&self) -> Option<(&[u8], &[u8], &[u8])> {
        let (name, keys) = self.0.split_at_checked(NAME)?;
        let (aes, mac) = keys.split_at_checked(keys.len() / 2)?;
        Some((name, aes, mac))
    }

    fn cipher(aes: &[u8]) -> Option<UnboundCipherKey> {
        let kind = if aes.len() == 16 { &AES_128 } else { &AES_256 };
        UnboundCipherKey::new(kind, aes).ok()
    }

    /// A ticket as RFC 5077 section 4 recommends: the key's name, the vector, the state in AES-CBC,
    /// and HMAC-SHA256 over all of that.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (name, aes, mac) = self.parts()?;
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(TicketKey::cipher(aes)?).ok()?;
        let mut state = plain.to_vec();
        let context = key.encrypt(&mut state).ok()?;
        let DecryptionContext::Iv128(vector) = context else {
            return None;
        };
        let mut ticket = name.to_vec();
        ticket.extend_from_slice(vector.as_ref());
        ticket.extend_from_slice(&state);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, mac), &ticket);
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, aes, mac) = self.parts()?;
        let rest = ticket.strip_prefix(name)?;
        let (signed, tag) = ticket.split_at_checked(ticket.len().checked_sub(TAG)?)?;
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, mac), signed, tag).ok()?;
        let (vector, state) = rest
            .get(..rest.len().checked_sub(TAG)?)?
            .split_at_checked(VECTOR)?;
        let vector: [u8; VECTOR] = vector.try_into().ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(TicketKey::cipher(aes)?).ok()?;
        let mut state = state.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(vector));
        Some(key.decrypt(&mut state, context).ok()?.to_vec())
    }
}

/// Bytes of a key's name.
const NAME: usize = 16;
/// Bytes of an initialisation vector.
const VECTOR: usize = 16;
/// Bytes of the signature.
const TAG: usize = 32;

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// It is no base64.
    Encoding,
    /// It is not as long as the others.
    Size,
}

/// The keys of one file, shared by all that name it.
#[derive(Debug)]
pub struct TicketKeys {
    /// The file.
    pub path: Arc<str>,
    /// The last [`KEYS`], oldest first.
    keys: RwLock<Vec<TicketKey>>,
}

impl TicketKeys {
    /// Reads the keys of a file: one a line, in base64, all of one length, at least [`KEYS`].
    pub fn read(path: &str, text: &[u8]) -> Result<TicketKeys, String> {
        let text = String::from_utf8_lossy(text);
        let mut keys: Vec<TicketKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let bytes = crate::base64(line.as_bytes())
                .ok_or_else(|| format!("{path}:{}: a key is no base64", index + 1))?;
            let key = TicketKey::new(bytes).ok_or_else(|| {
                format!(
                    "{path}:{}: a key has 48 or 80 bytes: openssl rand -base64 48",
                    index + 1
                )
            })?;
            if keys.first().is_some_and(|k| k.0.len() != key.0.len()) {
                return Err(format!(
                    "{path}:{}: all keys of a file have the length of its first",
                    index + 1
                ));
            }
            keys.push(key);
        }
        if keys.len() < KEYS {
            return Err(format!(
                "{path}: at least {KEYS} keys are wanted, one a line: openssl rand -base64 48"
            ));
        }
        let keys = keys.split_off(keys.len() - KEYS);
        Ok(TicketKeys {
            path: path.into(),
            keys: RwLock::new(keys),
        })
    }

    /// The keys, oldest first.
    pub fn keys(&self) -> Vec<TicketKey> {
        self.keys
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `set ssl tls-key`: takes another key as the newest, in base64; the oldest is forgotten.
    pub fn push(&self, text: &str) -> Result<(), KeyFault> {
        let bytes = crate::base64(text.as_bytes()).ok_or(KeyFault::Encoding)?;
        let key = TicketKey::new(bytes).ok_or(KeyFault::Size)?;
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.first().is_some_and(|k| k.0.len() != key.0.len()) {
            return Err(KeyFault::Size);
        }
        keys.remove(0);
        keys.push(key);
        Ok(())
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    /// That of the listener counts: see [`crate::sessions::Aging`].
    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(keys.len().checked_sub(2)?)?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.iter().rev().find_map(|key| key.open(cipher))
    }
}

#[cfg(test)]
mod tests;
