//! Durations as people write them: a number and a unit, never a bare number.
use std::time::Duration;

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// It does not begin with a number.
    NotANumber,
    /// It is longer than ten years, which nobody means.
    TooLong,
    /// The unit is missing or is none of ms, s, m, h, d.
    UnknownUnit,
}

const LONGEST_MS: f64 = 10.0 * 365.0 * 86_400_000.0;

/// Reads `"250ms"`, `"1.5s"`, `"30s"`, `"5m"`, `"1h"`, `"7d"`; the result is exact to the millisecond.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let number: f64 = digits.parse().map_err(|_| DurationError::NotANumber)?;
    let scale_ms = match unit.trim_start() {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(DurationError::UnknownUnit),
    };
    let total_ms = number * scale_ms;
    if LONGEST_MS < total_ms {
        return Err(DurationError::TooLong);
    }
    Ok(Duration::from_secs_f64((total_ms.round()) / 1_000.0))
}

/// Prints a duration the way the config file would have it.
pub fn show_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_and_print() {
        for (text, ms, shown) in [
            ("250ms", 250, "250ms"),
            ("1.5s", 1_500, "1500ms"),
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("7d", 604_800_000, "168h"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!((duration.as_millis(), show_duration(duration).as_str()), (ms, shown));
        }
    }

    #[test]
    fn wrong_durations_say_why() {
        for (text, why) in [
            ("", DurationError::NotANumber),
            ("s", DurationError::NotANumber),
            ("1.2.3s", DurationError::NotANumber),
            ("30", DurationError::UnknownUnit),
            ("30sec", DurationError::UnknownUnit),
            ("99999d", DurationError::TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text}");
        }
    }
}
