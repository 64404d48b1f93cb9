//! What rustls tells by calls while it works on a connection, and only then. It does not say of which
//! connection, but it is always the one being worked on in this thread: [`while_working`] stands
//! around each piece of work of a handshake and hands over what was told.

use crate::material::Material;
use crate::verify::Verdict;
use rustls::KeyLog;
use std::cell::RefCell;
use std::sync::Arc;

/// What was told of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The certificate that was shown to the client.
    pub(crate) shown: Option<Arc<Material>>,
    /// How the client's certificate was judged.
    pub(crate) verdict: Option<Verdict>,
    /// Secrets by their labels, as NSS's key logs name them.
    pub(crate) secrets: Vec<(String, Vec<u8>)>,
}

thread_local! {
    static NOTES: RefCell<Notes> = const {
        RefCell::new(Notes {
            shown: None,
            verdict: None,
            secrets: Vec::new(),
        })
    };
}

/// Works on a connection; what is told meanwhile is noted.
pub(crate) fn while_working<T>(notes: &mut Notes, work: impl FnOnce() -> T) -> T {
    NOTES.set(std::mem::take(notes));
    let done = work();
    *notes = NOTES.take();
    done
}

/// This certificate is shown.
pub(crate) fn shown(material: &Arc<Material>) {
    NOTES.with_borrow_mut(|notes| notes.shown = Some(Arc::clone(material)));
}

/// A client's certificate was judged like this.
pub(crate) fn judged(verdict: Verdict) {
    NOTES.with_borrow_mut(|notes| notes.verdict = Some(verdict));
}

/// Keeps the secrets of connections.
#[derive(Debug)]
pub(crate) struct Secrets;

impl KeyLog for Secrets {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let secret = (label.to_string(), secret.to_vec());
        NOTES.with_borrow_mut(|notes| notes.secrets.push(secret));
    }
}
