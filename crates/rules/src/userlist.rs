//! Users who prove themselves by `Authorization: Basic` (RFC 7617), against a userlist.

use crate::Ctx;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;

/// The groups of the user whom the request's credentials prove in this list.
pub(crate) fn groups<'s>(list: Option<&[u8]>, cx: &'s Ctx<'_>) -> Option<&'s [Arc<str>]> {
    let list = std::str::from_utf8(list?).ok()?;
    let authorization = cx.request()?.get(b"authorization")?;
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let credentials = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = credentials.iter().position(|b| *b == b':')?;
    let (user, password) = credentials.split_at(colon);
    cx.facts.groups(list, user, password.get(1..)?)
}
