//! The tables of sample fetches (manual section 7.3), one for each place a value comes from.

mod connection;
mod constant;
mod content;
mod current;
mod ftp;
mod greeting;
mod internal;
mod message;
mod own_certificate;
mod request;
mod response;
mod secrets;
mod smtp;
mod stick;
mod timing;
mod tls;

use crate::args::{Arg, ArgList, ArgSpec};
use crate::{Ctx, Sample, Type};

type Eval = for<'s> fn(&'s [Arg], &'s Ctx<'_>) -> Option<Sample<'s>>;
type EvalNth = for<'s> fn(&'s [Arg], &'s Ctx<'_>, usize) -> Option<Sample<'s>>;

/// One fetch.
pub struct FetchDef {
    /// Its names; the first is the one to teach.
    pub names: &'static [&'static str],
    /// Its arguments.
    pub args: ArgSpec,
    /// The type of its value.
    pub output: Type,
    /// Where its value comes from.
    pub layer: Layer,
    /// One line.
    pub doc: &'static str,
    /// An expression, and the text it comes to (nothing where it has no value).
    pub example: (&'static str, &'static str),
    /// The value.
    pub eval: Eval,
    /// The n-th value, where an ACL looks at several.
    pub each: Option<EvalNth>,
}

/// Where a value comes from, and so from when on it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Layer {
    Internal,
    Connection,
    Tls,
    Request,
    Response,
}

impl std::fmt::Debug for FetchDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.names.first().unwrap_or(&""))
    }
}

/// Fetches that ACLs also know by a name with the match in it, such as `path_beg` (manual 7.3.6).
const ACL_BASES: &[(&str, &str)] = &[
    ("base", "base"),
    ("cook", "req.cook"),
    ("hdr", "req.hdr"),
    ("path", "path"),
    ("pathq", "pathq"),
    ("query", "query"),
    ("req.cook", "req.cook"),
    ("req.hdr", "req.hdr"),
    ("res.cook", "res.cook"),
    ("res.hdr", "res.hdr"),
    ("scook", "res.cook"),
    ("shdr", "res.hdr"),
    ("url", "url"),
    ("urlp", "url_param"),
    ("url_param", "url_param"),
];

const ACL_SUFFIXES: &[&str] = &["beg", "dir", "dom", "end", "len", "reg", "sub"];

/// The fetch and match of an ACL name such as `hdr_dom`.
pub fn acl_alias(name: &str) -> Option<(&'static str, &str)> {
    let (base, suffix) = name.rsplit_once('_')?;
    let suffix = ACL_SUFFIXES.iter().find(|s| **s == suffix)?;
    ACL_BASES
        .iter()
        .find(|(b, _)| *b == base)
        .map(|(_, fetch)| (*fetch, *suffix))
}

/// Every name with a match in it, for documentation.
pub fn acl_names() -> impl Iterator<Item = String> {
    ACL_BASES
        .iter()
        .flat_map(|(b, _)| ACL_SUFFIXES.iter().map(move |s| format!("{b}_{s}")))
}

/// One entry: names, arguments, type, layer, a line of documentation, an example, the value, and
/// where an ACL looks at several, the n-th value.
macro_rules! fetch {
    ($names:expr, $args:expr, $out:ident, $layer:ident, $doc:literal,
     $example:expr => $value:literal, $eval:expr) => {
        fetch! { @ $names, $args, $out, $layer, $doc, $example => $value, $eval, None }
    };
    ($names:expr, $args:expr, $out:ident, $layer:ident, $doc:literal,
     $example:expr => $value:literal, $eval:expr, $each:expr) => {
        fetch! { @ $names, $args, $out, $layer, $doc, $example => $value, $eval, Some($each) }
    };
    (@ $names:expr, $args:expr, $out:ident, $layer:ident, $doc:literal,
     $example:expr => $value:literal, $eval:expr, $each:expr) => {
        $crate::fetch::FetchDef {
            names: &$names,
            args: $args,
            output: $crate::Type::$out,
            layer: $crate::fetch::Layer::$layer,
            doc: $doc,
            example: ($example, $value),
            eval: $eval,
            each: $each,
        }
    };
}
use fetch;

/// All fetches.
pub fn fetches() -> impl Iterator<Item = &'static FetchDef> {
    [
        constant::TABLE,
        content::TABLE,
        current::TABLE,
        internal::TABLE,
        connection::TABLE,
        tls::TABLE,
        ftp::TABLE,
        greeting::TABLE,
        own_certificate::TABLE,
        request::TABLE,
        response::TABLE,
        secrets::TABLE,
        smtp::TABLE,
        timing::TABLE,
    ]
    .into_iter()
    .chain(stick::ALL)
    .flatten()
}

fn int<'s>(n: impl Into<i64>) -> Option<Sample<'s>> {
    Some(Sample::Int(n.into()))
}

fn truth<'s>(b: bool) -> Option<Sample<'s>> {
    Some(Sample::Bool(b))
}

/// A name given as the first argument.
fn name_arg(args: &[Arg]) -> Option<&str> {
    let name = args.text(0).and_then(|t| std::str::from_utf8(t).ok());
    name.filter(|t| !t.is_empty())
}

/// The backend that an argument names; the current one, which is the frontend's own before one
/// is chosen.
fn backend<'s>(args: &'s [Arg], cx: &'s Ctx<'_>) -> Option<&'s str> {
    let current = cx.stream.backend.as_deref();
    name_arg(args)
        .or(current)
        .or(Some(&cx.session.listener.frontend))
}
