//! `mode smtp`: what is said to clients and taken from them.

use std::sync::Arc;

/// The `smtp-…` lines of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// `smtp-name`: the name in the greeting; the machine's own where not set.
    pub name: Option<Arc<str>>,
    /// `smtp-banner`: the words behind that name.
    pub banner: Arc<str>,
    /// `smtp-extensions`: what is announced besides `PIPELINING` and `STARTTLS`, by name.
    pub extensions: Vec<Arc<str>>,
    /// `smtp-size`: the longest message, bytes; `None`: as long as servers take.
    pub size: Option<u64>,
    /// `smtp-max-errors`: refused commands after which a client is sent away.
    pub max_errors: u32,
    /// `smtp-max-rcpts`: the most recipients of a message.
    pub max_rcpts: u32,
    /// `smtp-bare-newline normalize`: a line that ends in a line feed alone is let pass as one
    /// that ends as it should, instead of ending the conversation.
    pub normalize: bool,
    /// `smtp-auth`: ways to log in that are announced where the conversation is encrypted, in capitals.
    pub auth: Vec<Arc<str>>,
    /// `smtp-require-tls`: no message before the conversation is encrypted.
    pub require_tls: bool,
}

impl Default for Smtp {
    fn default() -> Smtp {
        Smtp {
            name: None,
            banner: "ESMTP".into(),
            extensions: ["SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"]
                .map(Arc::from)
                .to_vec(),
            size: None,
            max_errors: 20,
            max_rcpts: 1000,
            normalize: false,
            auth: Vec::new(),
            require_tls: false,
        }
    }
}
