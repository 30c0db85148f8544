//! Dates of HTTP (RFC 9110 §5.6.7): IMF-fixdate as it is written, formatted once a second, and all forms that are read.

/// The last date that was formatted.
#[derive(Clone, Debug)]
pub struct DateCache {
    second: u64,
    text: [u8; 29],
}

impl Default for DateCache {
    fn default() -> Self {
        Self { second: 0, text: format(0) }
    }
}

impl DateCache {
    /// The date at so many seconds after 1970 began.
    pub fn at(&mut self, second: u64) -> &[u8; 29] {
        if self.second != second {
            self.second = second;
            self.text = format(second);
        }
        &self.text
    }
}

fn format(second: u64) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let small = |number: u64| usize::try_from(number).unwrap_or(0);
    let (day, time) = (second / 86_400, second % 86_400);
    let (year, month, date) = civil(day);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = small(day % 7) * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    let month = small(month - 1) * 3;
    text[8..11].copy_from_slice(&MONTHS[month..month + 3]);
    for (at, number) in
        [(5, date), (17, time / 3600), (20, time / 60 % 60), (23, time % 60), (12, year / 100), (14, year % 100)]
    {
        text[at] = b'0' + u8::try_from(number / 10 % 10).expect("a digit");
        text[at + 1] = b'0' + u8::try_from(number % 10).expect("a digit");
    }
    text
}

/// Appends the date at so many seconds after 1970 began.
pub fn write_date(out: &mut Vec<u8>, second: u64) {
    out.extend_from_slice(&format(second));
}

/// Seconds after 1970 began, of a date in any of the three forms that a recipient has to accept (RFC 9110 §5.6.7); `None` for
/// anything else, and for dates before that.
pub fn parse_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let (date, month, year, time) = match words[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT
        [_, date, month, year, time, "GMT"] if year.len() == 4 => (date, month, small(year)?, time),
        // Sunday, 06-Nov-94 08:49:37 GMT
        [_, date, time, "GMT"] => {
            let mut parts = date.split('-');
            let (date, month, year) = (parts.next()?, parts.next()?, parts.next()?);
            let year = small(year).filter(|_| year.len() == 2 && parts.next().is_none())?;
            // Two digits: the past century for what would else be far ahead.
            (date, month, if year < 70 { 2000 + year } else { 1900 + year }, time)
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, date, time, year] if year.len() == 4 => (date, month, small(year)?, time),
        _ => return None,
    };
    let month = MONTH_NAMES.iter().position(|name| *name == month)? as u64 + 1;
    let mut parts = time.split(':').map(small);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let date = small(date)?;
    let is_valid = parts.next().is_none() && (1..=31).contains(&date) && hour < 24 && minute < 60 && second <= 60;
    let days = if is_valid { days(year, month, date)? } else { return None };
    let second = ((days * 24 + hour) * 60 + minute) * 60 + second;
    // A leap second may lie behind it.
    (second <= LAST).then_some(second)
}

/// The last second of the year 9999: beyond, a year has more than four digits.
const LAST: u64 = 253_402_300_799;

const MONTH_NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A number of at most four digits.
fn small(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Days from 1970-01-01 on; the other way round of [`civil`].
fn days(year: u64, month: u64, date: u64) -> Option<u64> {
    let (year, from_march) = if month < 3 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year / 400, year % 400);
    let of_year = (153 * from_march + 2) / 5 + date - 1;
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year).checked_sub(719_468)
}

/// Year, month and day of the day that is so many after 1970-01-01, counted in eras of 400 years that begin in March.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let mut cache = DateCache::default();
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] {
            assert_eq!(cache.at(second), expected.as_bytes());
        }
    }
    #[test]
    fn dates_are_read_in_all_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_date(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Wed, 00 Mar 1995 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nop 1994 08:49:37 GMT",
            "Sun, 06 Nov 19944 08:49:37 GMT",
            "Sun, -6 Nov 1994 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sunday, 06-Nov-9498 08:49:37 GMT",
            "Sunday, 06-Nov-94-1 08:49:37 GMT",
            "Fri, 31 Dec 9999 23:59:60 GMT",
        ] {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_date(b"Fri, 31 Dec 9999 23:59:59 GMT"), Some(LAST));
        for second in (0..5_000_000_000).step_by(86_399 * 7) {
            assert_eq!(parse_date(&format(second)), Some(second));
        }
    }
}
