//! The tables of converters (manual section 7.3.1), one for each subject.

mod address;
mod crypt;
mod date;
mod encoding;
mod fix;
mod forwarded;
mod hash;
mod json;
mod map;
mod mqtt;
mod number;
mod packet;
mod protobuf;
mod stick;
mod string;
mod system;
mod x509;

pub use hash::{avalanche, crc32, djb2, sdbm};
pub(crate) use string::expand;

use crate::args::{Arg, ArgSpec};
use crate::{Ctx, Sample, Type};
use std::borrow::Cow;

type Eval = for<'s> fn(&'s [Arg], Sample<'s>, &'s Ctx<'_>) -> Option<Sample<'s>>;

/// One converter.
pub struct ConvertDef {
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub args: ArgSpec,
    /// What it is given: the value before it is made this type.
    pub input: Type,
    /// The type of its result; where this and `input` are `Any`, the type does not change.
    pub output: Type,
    /// One line.
    pub doc: &'static str,
    /// An expression, and the text it comes to (nothing where it has no value).
    pub example: (&'static str, &'static str),
    /// The function.
    pub eval: Eval,
}

impl std::fmt::Debug for ConvertDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// One entry: name, arguments, types, a line of documentation, an example, the function.
macro_rules! convert {
    ($name:literal, $args:expr, $in:ident => $out:ident, $doc:literal,
     $example:expr => $value:literal, $eval:expr) => {
        $crate::convert::ConvertDef {
            name: $name,
            args: $args,
            input: $crate::Type::$in,
            output: $crate::Type::$out,
            doc: $doc,
            example: ($example, $value),
            eval: $eval,
        }
    };
}
use convert;

/// All converters.
pub fn converters() -> impl Iterator<Item = &'static ConvertDef> {
    [
        string::TABLE,
        number::TABLE,
        encoding::TABLE,
        fix::TABLE,
        hash::TABLE,
        date::TABLE,
        address::TABLE,
        crypt::TABLE,
        json::TABLE,
        map::TABLE,
        mqtt::TABLE,
        packet::TABLE,
        protobuf::TABLE,
        forwarded::TABLE,
        system::TABLE,
        x509::TABLE,
    ]
    .into_iter()
    .chain(stick::ALL)
    .flatten()
}

fn text<'s>(bytes: impl Into<Vec<u8>>) -> Option<Sample<'s>> {
    Some(Sample::owned(bytes))
}

fn binary<'s>(bytes: impl Into<Vec<u8>>) -> Option<Sample<'s>> {
    Some(Sample::Bin(Cow::Owned(bytes.into())))
}

fn int<'s>(n: i64) -> Option<Sample<'s>> {
    Some(Sample::Int(n))
}
