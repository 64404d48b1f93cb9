//! Lists of patterns: what maps and ACLs look up, one list for each file's name, shared between all
//! who use it, and changed while running (manual section 2.7 of 3.x, `show map` and so on).
//!
//! A [`PatternList`] owns the texts as they were given. Each way of using it (how keys match, what
//! the values are) has a [`Matcher`], which owns an index made for it. Looking up takes no lock;
//! whoever changes a list takes the list's lock and brings all its indices up to date.

mod index;
mod list;
mod matcher;
mod registry;

pub use list::{Change, Entry, Passed, PatternList};
pub use matcher::Matcher;
pub use registry::{Listed, PatternLists};
