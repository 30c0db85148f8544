//! The Date field (RFC 9110 §5.6.7, IMF-fixdate), formatted once a second.

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
}
