//! Names of files that tell their time.

/// `pattern` with the time in it (UTC): `%Y`, `%m`, `%d`, `%H`, `%M`, `%S`, `%s` and `%%`. What
/// else stands behind a `%` stays as it is.
pub(super) fn expand(pattern: &str, seconds: u64) -> String {
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut name = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            name.push(character);
            continue;
        }
        let part = match rest.next() {
            Some('Y') => format!("{year:04}"),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('H') => format!("{hour:02}"),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('s') => seconds.to_string(),
            Some('%') | None => "%".to_owned(),
            Some(other) => format!("%{other}"),
        };
        name.push_str(&part);
    }
    name
}

/// Year, month and day of a day counted from the beginning of 1970, in the Gregorian calendar.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // 400 years have 146,097 days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        (days, year) = (days - length, year + 1);
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        (days, month) = (days - length, month + 1);
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_a_clock_in_utc_shows_them() {
        for (seconds, want) in [
            (0, "1970-01-01 00:00:00"),
            (68_169_599, "1972-02-28 23:59:59"),
            (68_169_600, "1972-02-29 00:00:00"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_795_389_299, "2026-11-22 23:14:59"),
            (4_107_542_399, "2100-02-28 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (16_725_225_599, "2499-12-31 23:59:59"),
        ] {
            assert_eq!(expand("%Y-%m-%d %H:%M:%S", seconds), want);
        }
        assert_eq!(expand("%s.100%%.%q.%", 7), "7.100%.%q.%");
    }
}
