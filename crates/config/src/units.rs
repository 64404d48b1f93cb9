//! Times and sizes (manual sections 2.4 and 2.5).

use std::time::Duration;

/// A time; a number without unit is in `default` microseconds.
pub fn time(text: &str, default_us: u64) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if digits == 0 {
        return Err(format!(
            "'{text}' is no time: write a number and us, ms, s, m, h or d"
        ));
    }
    let factor = match unit {
        "" => default_us,
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => {
            return Err(format!(
                "unknown time unit '{unit}' in '{text}': use us, ms, s, m, h or d"
            ));
        }
    };
    let too_long = || format!("time '{text}' is too long: at most 2147483647 ms (24 days)");
    let us = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(too_long)?;
    if us > i32::MAX as u64 * 1000 {
        return Err(too_long());
    }
    // A time above 0 that would be rounded to 0 ms is kept at 1 ms, as a timeout of 0 is none.
    Ok(Duration::from_micros(us))
}

/// A timeout: milliseconds without unit; 0 is none.
pub fn timeout(text: &str) -> Result<Option<Duration>, String> {
    let time = time(text, 1_000)?;
    Ok((!time.is_zero()).then(|| time.max(Duration::from_millis(1))))
}

/// A size in bytes, with k, m or g.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => {
            return Err(format!(
                "unknown size unit '{unit}' in '{text}': use k, m or g"
            ));
        }
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or_else(|| format!("'{text}' is no size: write a number and k, m or g"))
}

/// A whole number within limits.
pub fn number(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        Ok(n) => Err(format!("{n} is out of range: {least} to {most}")),
        Err(_) => Err(format!("'{text}' is no number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_limits() {
        assert_eq!(timeout("5s"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(timeout("250"), Ok(Some(Duration::from_millis(250))));
        assert_eq!(timeout("1us"), Ok(Some(Duration::from_millis(1))));
        assert_eq!(timeout("0"), Ok(None));
        for bad in [
            "",
            "s",
            "5x",
            "5 s",
            "-1",
            "1.5s",
            "99999999999999999999",
            "25d",
        ] {
            assert!(timeout(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units_and_limits() {
        assert_eq!(size("16k"), Ok(16384));
        assert_eq!(size("2G"), Ok(2 << 30));
        for bad in [
            "",
            "k",
            "1t",
            "99999999999999999999",
            "18446744073709551615k",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
