//! Encodings of bytes: base64, hexadecimal, decimal, percent signs.

use super::{ConvertDef, binary, convert, int, text};
use crate::Sample;
use crate::args::{Arg, ArgKind::*, ArgList, NONE, args};
use crate::sample::hex;
use base64::Engine;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Bits behind the last byte are not looked at.
const fn engine(alphabet: &Alphabet, padding: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(padding)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(match padding {
            true => DecodePaddingMode::RequireCanonical,
            false => DecodePaddingMode::RequireNone,
        });
    GeneralPurpose::new(alphabet, config)
}

const PLAIN: GeneralPurpose = engine(&alphabet::STANDARD, true);
const URL: GeneralPurpose = engine(&alphabet::URL_SAFE, false);

pub static TABLE: &[ConvertDef] = &[
    convert! { "b64dec", NONE, Str => Bin, "decoded from base64",
        "str(Zm9v),b64dec" => "foo", |_, s, _| PLAIN.decode(s.to_bytes()).ok().and_then(binary)
    },
    convert! { "base64", NONE, Bin => Str, "in base64",
        "bin(fbff),base64" => "+/8=", |_, s, _| text(PLAIN.encode(s.to_bytes()))
    },
    convert! { "be2dec", args(&[Str, IntIn(1, 8), Int], 2), Bin => Str,
        "big-endian chunks as decimal numbers, joined (1: whole chunks only)",
        "bin(01020304050607),be2dec(-,2,1)" => "258-772-1286",
        |a, s, _| chunks(a, &s, |c| number(c.iter()))
    },
    convert! { "be2hex", args(&[Str, IntIn(1, i64::MAX), Int], 0), Bin => Str,
        "chunks in hexadecimal, joined (1: whole chunks only)",
        "bin(01020304050607),be2hex(:,2)" => "0102:0304:0506:07", |a, s, _| chunks(a, &s, hex)
    },
    convert! { "hex", NONE, Bin => Str, "hexadecimal digits",
        "str(AZ),hex" => "415A", |_, s, _| text(hex(&s.to_bytes()))
    },
    convert! { "hex2i", NONE, Str => Int, "the number that hexadecimal digits mean",
        "str(ff),hex2i" => "255", |_, s, _| {
            let digits = s.to_bytes();
            let digits = digits.iter().map(|b| http::uri::hex(*b).map(i64::from));
            digits.into_iter().try_fold(0i64, |n, d| Some(n << 4 | d?)).and_then(int)
        }
    },
    convert! { "htonl", NONE, Int => Bin, "its lower 32 bits, big-endian",
        "int(16909060),htonl,hex" => "01020304",
        |_, s, _| binary((s.to_int()? as u32).to_be_bytes())
    },
    convert! { "le2dec", args(&[Str, IntIn(1, 8), Int], 2), Bin => Str,
        "little-endian chunks as decimal numbers, joined (1: whole chunks only)",
        "bin(01020304050607),le2dec(:,2)" => "513:1027:1541:7",
        |a, s, _| chunks(a, &s, |c| number(c.iter().rev()))
    },
    convert! { "ub64dec", NONE, Str => Bin, "decoded from URL-safe base64",
        "str(-_8),ub64dec,hex" => "FBFF", |_, s, _| {
            let bytes = s.to_bytes();
            let end = bytes.iter().rposition(|b| *b != b'=').map_or(0, |p| p + 1);
            URL.decode(bytes.get(..end)?).ok().and_then(binary)
        }
    },
    convert! { "ub64enc", NONE, Bin => Str, "in URL-safe base64 without padding",
        "bin(fbff),ub64enc" => "-_8", |_, s, _| text(URL.encode(s.to_bytes()))
    },
    convert! { "url_dec", args(&[Int], 0), Str => Str,
        "percent-decoded; '+' becomes a space behind a '?' (1: everywhere)",
        "str(a+b%20c?d+e),url_dec" => "a+b c?d e", |a, s, _| decoded(a, &s)
    },
    convert! { "url_enc", args(&[Word(&["query"])], 0), Str => Str, "percent-encoded",
        "str(a b/c),url_enc" => "a%20b%2Fc", |_, s, _| {
            let mut out = Vec::new();
            for b in s.to_bytes().iter() {
                if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
                    out.push(*b);
                } else {
                    out.push(b'%');
                    out.extend(hex(&[*b]));
                }
            }
            text(out)
        }
    },
];

/// Each chunk written by `show`, joined by the separator: arguments separator, size, truncate.
fn chunks<'s>(
    args: &[Arg],
    sample: &Sample<'_>,
    show: impl Fn(&[u8]) -> Vec<u8>,
) -> Option<Sample<'s>> {
    let bytes = sample.to_bytes();
    let size = args
        .int(1)
        .map_or(Some(usize::MAX), |n| n.try_into().ok())?;
    let whole = args.int(2).is_some_and(|n| n != 0);
    let chunks = bytes.chunks(size.min(bytes.len()).max(1));
    // A chunk larger than all there is is no whole one.
    let chunks = chunks.filter(|c| !whole || args.int(1).is_none() || c.len() == size);
    let shown: Vec<_> = chunks.map(show).collect();
    text(shown.join(args.text(0).unwrap_or_default()))
}

fn number<'b>(bytes: impl Iterator<Item = &'b u8>) -> Vec<u8> {
    let n = bytes.fold(0u64, |n, b| n << 8 | u64::from(*b));
    n.to_string().into_bytes()
}

/// Percent signs without two digits behind them make no value.
fn decoded<'s>(args: &[Arg], sample: &Sample<'_>) -> Option<Sample<'s>> {
    let mut plus = args.int(0).is_some_and(|n| n != 0);
    let bytes = sample.to_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &*bytes;
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                out.push(http::uri::hex(*high)? << 4 | http::uri::hex(*low)?);
                rest = after;
            }
            (b'%', _) => return None,
            (b'+', _) if plus => out.push(b' '),
            (b, _) => {
                plus |= *b == b'?';
                out.push(*b);
            }
        }
    }
    text(out)
}
