//! Dates as texts (RFC 9110 section 5.6.7, strftime(3) in the C locale).

use crate::Wall;
use crate::digits::{decimal, three, two};
use std::borrow::Cow;
use std::io::Write;

/// What a clock on a wall is ahead of UTC, at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Seconds east of UTC.
    pub offset: i32,
    /// Its abbreviation, such as `CET`.
    pub name: Cow<'static, str>,
}

impl Zone {
    /// UTC under the name that dates in HTTP give it.
    pub fn utc(_secs: i64) -> Zone {
        Zone {
            offset: 0,
            name: "GMT".into(),
        }
    }

    /// `+0100`.
    fn numeric(&self) -> String {
        let minutes = self.offset.abs() / 60;
        let sign = if self.offset < 0 { '-' } else { '+' };
        format!("{sign}{:02}{:02}", minutes / 60, minutes % 60)
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn short(name: &str) -> &str {
    name.get(..3).unwrap_or_default()
}

/// A moment taken apart.
struct Broken {
    year: i64,
    /// From 1.
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    /// From 0, Sunday.
    weekday: i64,
    /// From 0.
    yearday: i64,
}

impl Broken {
    fn down(secs: i64) -> Broken {
        let days = secs.div_euclid(86_400);
        let rest = secs.rem_euclid(86_400);
        let (year, month, day) = civil(days);
        Broken {
            year,
            month,
            day,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7),
            yearday: days - first_day(year),
        }
    }

    fn month_name(&self) -> &'static str {
        let name = MONTHS.get(self.month.wrapping_sub(1));
        name.copied().unwrap_or("January")
    }

    fn day_name(&self) -> &'static str {
        let name = DAYS.get(self.weekday as usize);
        name.copied().unwrap_or("Sunday")
    }

    /// The hour as a clock with twelve of them shows it.
    fn hour12(&self) -> i64 {
        (self.hour + 11) % 12 + 1
    }

    /// Week and year of ISO 8601: week 1 has the year's first Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let monday = (self.weekday + 6) % 7;
        let week = (self.yearday - monday + 10).div_euclid(7);
        let weeks = |year| {
            let first = (first_day(year) + 4).rem_euclid(7);
            let leap = first_day(year + 1) - first_day(year) == 366;
            if first == 4 || (leap && first == 3) {
                53
            } else {
                52
            }
        };
        match week {
            0 => (weeks(self.year - 1), self.year - 1),
            w if w > weeks(self.year) => (1, self.year + 1),
            w => (w, self.year),
        }
    }
}

/// Days since 1970 to year, month (from 1) and day (Hinnant's civil_from_days).
fn civil(days: i64) -> (i64, usize, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month as usize,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// Days from 1970 to the first of January of a year.
fn first_day(year: i64) -> i64 {
    let y = year - 1;
    365 * (year - 1970) + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 477
}

/// `09/Dec/2013:12:59:46`, what both forms of logs begin with.
fn log_second(secs: i64, zone: &Zone, out: &mut Vec<u8>) {
    let d = Broken::down(secs + i64::from(zone.offset));
    two(d.day, out);
    out.push(b'/');
    out.extend_from_slice(short(d.month_name()).as_bytes());
    out.push(b'/');
    decimal(d.year, out);
    for part in [d.hour, d.minute, d.second] {
        out.push(b':');
        two(part, out);
    }
}

/// `09/Dec/2013:12:59:46.633`, by the clock of a zone.
pub fn log_date(at: Wall, zone: &Zone, out: &mut Vec<u8>) {
    log_second(at.secs, zone, out);
    out.push(b'.');
    three((at.micros / 1000).into(), out);
}

/// `09/Dec/2013:12:59:46 +0000`.
pub fn clf_date(secs: i64, zone: &Zone, out: &mut Vec<u8>) {
    log_second(secs, zone, out);
    let _ = write!(out, " {}", zone.numeric());
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
pub fn http_date(secs: i64) -> Vec<u8> {
    strftime(b"%a, %d %b %Y %H:%M:%S GMT", secs, (0, 1), &Zone::utc(secs))
}

/// How a field is padded to its width.
#[derive(Clone, Copy, Default)]
struct Style {
    pad: Option<u8>,
    upper: bool,
    width: Option<usize>,
}

/// The conversions of strftime(3) with the flags `-`, `_`, `0` and `^`, and `%N`, the part of a
/// second: `fraction` says how many units of how many it is.
pub fn strftime(format: &[u8], secs: i64, fraction: (i64, i64), zone: &Zone) -> Vec<u8> {
    // Beyond some hundred million years nothing is a date; that bounds what can overflow.
    let secs = secs.clamp(-(1 << 53), 1 << 53);
    let date = Broken::down(secs + i64::from(zone.offset));
    let mut out = Vec::new();
    let mut rest = format;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let mut style = Style::default();
        let letter = loop {
            let Some((letter, after)) = rest.split_first() else {
                out.push(b'%');
                return out;
            };
            rest = after;
            match letter {
                b'-' | b'_' => style.pad = Some(*letter),
                b'0' if style.width.is_none() => style.pad = Some(b'0'),
                b'^' => style.upper = true,
                b'0'..=b'9' => {
                    let width = style.width.unwrap_or(0) * 10 + usize::from(letter - b'0');
                    style.width = Some(width.min(64));
                }
                b'E' | b'O'
                    if rest
                        .first()
                        .is_some_and(|b| b"cCdeHImMSuUVwWxXyY".contains(b)) => {}
                _ => break *letter,
            }
        };
        field(letter, style, &date, secs, fraction, zone, &mut out);
    }
    out
}

fn field(
    letter: u8,
    style: Style,
    d: &Broken,
    secs: i64,
    fraction: (i64, i64),
    zone: &Zone,
    out: &mut Vec<u8>,
) {
    let again = |format: &[u8]| strftime(format, secs, fraction, zone);
    // A number, its usual width and what fills it.
    let number = |n: i64, width: usize, fill: u8, out: &mut Vec<u8>| {
        // What has no width of its own is filled up with zeros to one that is given.
        let fill = match (style.pad, style.width) {
            (Some(pad), _) => pad,
            (None, Some(_)) if fill == b'-' => b'0',
            (None, _) => fill,
        };
        let width = style.width.unwrap_or(width);
        let _ = match fill {
            b'0' if width == 2 && (0..100).contains(&n) => {
                two(n, out);
                Ok(())
            }
            b'-' => write!(out, "{n}"),
            b'_' => write!(out, "{n:width$}"),
            _ => write!(out, "{n:0width$}"),
        };
    };
    let text = |text: &[u8], out: &mut Vec<u8>| {
        if style.upper {
            out.extend(text.to_ascii_uppercase());
        } else {
            out.extend_from_slice(text);
        }
    };
    match letter {
        b'a' => text(short(d.day_name()).as_bytes(), out),
        b'A' => text(d.day_name().as_bytes(), out),
        b'b' | b'h' => text(short(d.month_name()).as_bytes(), out),
        b'B' => text(d.month_name().as_bytes(), out),
        b'c' => text(&again(b"%a %b %e %H:%M:%S %Y"), out),
        b'C' => number(d.year.div_euclid(100), 2, b'0', out),
        b'd' => number(d.day, 2, b'0', out),
        b'D' | b'x' => text(&again(b"%m/%d/%y"), out),
        b'e' => number(d.day, 2, b'_', out),
        b'F' => text(&again(b"%Y-%m-%d"), out),
        b'g' => number(d.iso_week().1.rem_euclid(100), 2, b'0', out),
        b'G' => number(d.iso_week().1, 4, b'-', out),
        b'H' => number(d.hour, 2, b'0', out),
        b'I' => number(d.hour12(), 2, b'0', out),
        b'j' => number(d.yearday + 1, 3, b'0', out),
        b'k' => number(d.hour, 2, b'_', out),
        b'l' => number(d.hour12(), 2, b'_', out),
        b'm' => number(d.month as i64, 2, b'0', out),
        b'M' => number(d.minute, 2, b'0', out),
        b'n' => out.push(b'\n'),
        b'N' => {
            let (part, whole) = fraction;
            let digits = format!("{:09}", part * (1_000_000_000 / whole));
            let usual = whole.ilog10() as usize;
            let width = style.width.unwrap_or(usual).min(digits.len());
            out.extend_from_slice(digits.as_bytes().get(..width).unwrap_or_default());
        }
        b'p' => text(if d.hour < 12 { b"AM" } else { b"PM" }, out),
        b'P' => text(if d.hour < 12 { b"am" } else { b"pm" }, out),
        b'r' => text(&again(b"%I:%M:%S %p"), out),
        b'R' => text(&again(b"%H:%M"), out),
        b's' => number(secs, 1, b'-', out),
        b'S' => number(d.second, 2, b'0', out),
        b't' => out.push(b'\t'),
        b'T' | b'X' => text(&again(b"%H:%M:%S"), out),
        b'u' => number((d.weekday + 6) % 7 + 1, 1, b'0', out),
        b'U' => number((d.yearday + 7 - d.weekday) / 7, 2, b'0', out),
        b'V' => number(d.iso_week().0, 2, b'0', out),
        b'w' => number(d.weekday, 1, b'0', out),
        b'W' => number((d.yearday + 7 - (d.weekday + 6) % 7) / 7, 2, b'0', out),
        b'y' => number(d.year.rem_euclid(100), 2, b'0', out),
        b'Y' => number(d.year, 1, b'-', out),
        b'z' => text(zone.numeric().as_bytes(), out),
        b'Z' => text(zone.name.as_bytes(), out),
        b'%' => out.push(b'%'),
        other => out.extend_from_slice(&[b'%', other]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_show_as_strftime_says() {
        let show = |format: &str, secs| {
            let bytes = strftime(format.as_bytes(), secs, (7, 1000), &Zone::utc(secs));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        for (format, secs, expected) in [
            (
                "%A %B %j %U %u %w %p %I %W",
                1_700_000_000,
                "Tuesday November 318 46 2 2 PM 10 46",
            ),
            (
                "%e/%k/%l/%C/%g/%G/%V/%D/%h/%P/%y",
                1_700_000_000,
                "14/22/10/20/23/2023/46/11/14/23/Nov/pm/23",
            ),
            (
                "%c|%r|%R|%s",
                1_700_000_000,
                "Tue Nov 14 22:13:20 2023|10:13:20 PM|22:13|1700000000",
            ),
            (
                "%Ey/%Od/%-d/%_m/%^a/%q/%E",
                1_699_000_000,
                "23/03/3/11/FRI/%q/%E",
            ),
            ("%G-%V %j", 1_704_067_199, "2023-52 365"),
            ("%G-%V %j", 1_609_459_200, "2020-53 001"),
            ("%F %T", -1, "1969-12-31 23:59:59"),
            ("%N %3N %6N %Z %z", 0, "007 007 007000 GMT +0000"),
            ("%", 0, "%"),
        ] {
            assert_eq!(show(format, secs), expected, "{format}");
        }
        let zone = Zone {
            offset: -16_200,
            name: "X".into(),
        };
        assert_eq!(strftime(b"%H:%M %z", 0, (0, 1), &zone), b"19:30 -0430");
    }
}
