//! `errorfile`, `errorloc`, `http-errors`.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Which redirect an `errorloc` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorLocation {
    /// `errorloc`, `errorloc302`.
    Found302,
    /// `errorloc303`.
    SeeOther303,
}

/// What is answered instead of the built-in page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorPage {
    /// The whole message, head and body, as read from the file; empty: the connection is closed without a word.
    Raw(Arc<[u8]>),
    /// A redirect to this URL.
    Redirect(ErrorLocation, Arc<str>),
}

/// Pages by status code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPages {
    /// Status code → page.
    pub pages: BTreeMap<u16, ErrorPage>,
}
