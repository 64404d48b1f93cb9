//! Dates.

use super::{ConvertDef, convert, text};
use crate::args::{Arg, ArgKind::*, ArgList, ArgSpec, args};
use crate::date::{Zone, http_date, strftime};
use crate::{Ctx, Sample};

const FORMAT: ArgSpec = args(&[Str, Int], 1);

pub static TABLE: &[ConvertDef] = &[
    convert! { "http_date", args(&[Int, Word(&["s", "ms", "us"])], 0), Int => Str,
        "a Unix date in s, ms or us as an HTTP date, shifted",
        "date,http_date(-60)" => "Sun, 06 Nov 1994 08:48:37 GMT", |a, s, _| {
            let date = s.to_int()?.saturating_add(a.int(0).unwrap_or(0));
            let second = match a.text(1) {
                Some(b"ms") => 1000,
                Some(b"us") => 1_000_000,
                _ => return text(http_date(date)),
            };
            let whole = http_date(date.div_euclid(second));
            let whole = String::from_utf8_lossy(&whole).into_owned();
            text(whole.replace(" GMT", &format!(".{} GMT", date.rem_euclid(second))))
        }
    },
    convert! { "ltime", FORMAT, Int => Str, "Unix seconds in a strftime format, local time, shifted",
        "int(0),ltime(%Y-%m-%d)" => "1970-01-01", |a, s, cx| local(a, &s, 1, cx)
    },
    convert! { "ms_ltime", FORMAT, Int => Str, "Unix milliseconds in a strftime format (%N: the fraction), local time",
        "int(1500),ms_ltime(%S.%N)" => "01.500", |a, s, cx| local(a, &s, 1000, cx)
    },
    convert! { "ms_utime", FORMAT, Int => Str, "Unix milliseconds in a strftime format (%N: the fraction), UTC",
        "int(1500),ms_utime(%S.%3N)" => "01.500", |a, s, _| shown(a, &s, 1000, Zone::utc)
    },
    convert! { "us_ltime", FORMAT, Int => Str, "Unix microseconds in a strftime format (%N: the fraction), local time",
        "int(1500000),us_ltime(%S.%N)" => "01.500000", |a, s, cx| local(a, &s, 1_000_000, cx)
    },
    convert! { "us_utime", FORMAT, Int => Str, "Unix microseconds in a strftime format (%N: the fraction), UTC",
        "int(1500000),us_utime(%S.%6N)" => "01.500000", |a, s, _| shown(a, &s, 1_000_000, Zone::utc)
    },
    convert! { "utime", FORMAT, Int => Str, "Unix seconds in a strftime format, UTC, shifted",
        "date,utime(%Y-%m-%d %Z)" => "1994-11-06 GMT", |a, s, _| shown(a, &s, 1, Zone::utc)
    },
];

fn local<'s>(a: &[Arg], s: &Sample<'_>, second: i64, cx: &Ctx<'_>) -> Option<Sample<'s>> {
    shown(a, s, second, |secs| cx.facts.local_zone(secs))
}

/// A date of which `second` units are a second, in the format of the first argument.
fn shown<'s>(
    args: &[Arg],
    sample: &Sample<'_>,
    second: i64,
    zone: impl Fn(i64) -> Zone,
) -> Option<Sample<'s>> {
    let date = sample.to_int()?.saturating_add(args.int(1).unwrap_or(0));
    let secs = date.div_euclid(second);
    let fraction = (date.rem_euclid(second), second);
    text(strftime(args.text(0)?, secs, fraction, &zone(secs)))
}
