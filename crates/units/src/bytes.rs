//! Sizes as people write them. Decimal units count in thousands, binary ones in 1024.
use std::{fmt, str::FromStr};

/// A size in bytes, written `"512B"`, `"16KiB"`, `"10MB"`; messages use the largest unit that divides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

/// Why a text is not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesError {
    /// It does not begin with digits.
    NotANumber,
    /// It is more than 2^64-1 bytes.
    TooLarge,
    /// The unit is missing or is none of B, kB, MB, GB, KiB, MiB, GiB.
    UnknownUnit,
}

impl Bytes {
    /// A size of `count` bytes.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// How many bytes.
    pub const fn count(self) -> u64 {
        self.0
    }
}

impl FromStr for Bytes {
    type Err = BytesError;

    fn from_str(text: &str) -> Result<Self, BytesError> {
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_end);
        if digits.is_empty() {
            return Err(BytesError::NotANumber);
        }
        let scale = match unit.trim_start() {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(BytesError::UnknownUnit),
        };
        let count: u64 = digits.parse().map_err(|_| BytesError::TooLarge)?;
        count.checked_mul(scale).map(Self).ok_or(BytesError::TooLarge)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [
            (1u64 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1_000, "kB"),
        ];
        match units.iter().find(|(scale, _)| self.0 != 0 && self.0.is_multiple_of(*scale)) {
            Some((scale, unit)) => write!(f, "{}{unit}", self.0 / scale),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, count, shown) in [
            ("0B", 0, "0B"),
            ("512B", 512, "512B"),
            ("16KiB", 16 << 10, "16KiB"),
            ("10MB", 10_000_000, "10MB"),
            ("1500kB", 1_500_000, "1500kB"),
            ("1001B", 1_001, "1001B"),
            ("3000MiB", 3000 << 20, "3000MiB"),
            ("2 GiB", 2 << 30, "2GiB"),
        ] {
            let size: Bytes = text.parse().unwrap();
            assert_eq!((size.count(), size.to_string().as_str()), (count, shown));
        }
    }

    #[test]
    fn wrong_sizes_say_why() {
        for (text, why) in [
            ("", BytesError::NotANumber),
            ("MB", BytesError::NotANumber),
            ("-1MB", BytesError::NotANumber),
            ("10", BytesError::UnknownUnit),
            ("4mb", BytesError::UnknownUnit),
            ("99999999999999999999B", BytesError::TooLarge),
            ("18446744073709551615KiB", BytesError::TooLarge),
        ] {
            assert_eq!(text.parse::<Bytes>(), Err(why), "{text}");
        }
    }
}
