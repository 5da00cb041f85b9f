//! Dates as people write them, and moments as documents hold them: milliseconds since 1970.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// Now.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The moment that a date means: with an offset exactly, else in local time. A date alone means noon, so that it stays the same day when
/// it is read a few time zones away.
pub fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment.as_millisecond());
    }
    let civil = match day(text) {
        Some(date) => date.at(12, 0, 0, 0),
        None => text.parse::<DateTime>().ok()?,
    };
    let zoned = civil.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// The first moment that a date means: of a day alone its midnight, in local time.
pub fn begin(text: &str) -> Option<i64> {
    let Some(date) = day(text.trim()) else {
        return parse(text);
    };
    let zoned = date.at(0, 0, 0, 0).to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// A `YYYY-MM-DD` and nothing else.
fn day(text: &str) -> Option<Date> {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| {
            if place == 4 || place == 7 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
    shape.then(|| text.parse().ok()).flatten()
}

/// The first `YYYY-MM-DD` in a file's name.
pub fn in_name(name: &str) -> Option<i64> {
    (0..name.len()).find_map(|from| {
        name.get(from..from + 10)
            .and_then(day)
            .and_then(|_| parse(&name[from..from + 10]))
    })
}

/// A moment in local time, to the minute.
pub fn show(millis: i64) -> String {
    match Timestamp::from_millisecond(millis) {
        Ok(moment) => moment
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M")
            .to_string(),
        Err(_) => "(far away)      ".to_owned(),
    }
}

/// As [`show`], of a time that a peer gave.
pub fn show_unsigned(millis: u64) -> String {
    show(i64::try_from(millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_exactly() {
        assert_eq!(parse("2024-05-01T13:00:00Z"), Some(1_714_568_400_000));
        assert_eq!(parse("2024-05-01T13:00:00+02:00"), Some(1_714_561_200_000));
    }

    #[test]
    fn local_times_read_back_as_written() {
        for (text, shown) in [
            ("2024-05-01", "2024-05-01 12:00"),
            ("2024-05-01T13:30", "2024-05-01 13:30"),
            (" 2024-05-01 13:30:59 ", "2024-05-01 13:30"),
            ("1969-12-31", "1969-12-31 12:00"),
        ] {
            assert_eq!(parse(text).map(show).as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2024-13-01",
            "2024-02-30",
            "20240501x",
            "2024-05-01T25:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_is_found_in_a_name() {
        assert_eq!(
            in_name("walk 2024-05-01 evening").map(show).as_deref(),
            Some("2024-05-01 12:00")
        );
        assert_eq!(in_name("füße-2024-05-99"), None);
        assert_eq!(in_name("2024-5-1"), None);
    }

    #[test]
    fn a_time_beyond_every_calendar_is_shown() {
        assert_eq!(show(i64::MAX).trim(), "(far away)");
    }
}
