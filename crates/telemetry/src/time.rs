//! Timestamps. The part down to the second is made once a second and thread.

use std::cell::RefCell;

use jiff::{Timestamp, tz::TimeZone};

#[derive(Default)]
struct Second {
    unix: Option<u64>,
    /// `2026-11-24T12:33:00`
    utc: String,
    /// The same where the machine is.
    local: String,
    /// `24/Nov/2026:12:33:00 +0100`
    combined: String,
}

thread_local! {
    static LAST: RefCell<Second> = RefCell::default();
}

/// Appends `2026-11-24T12:33:00.123`, local time: a log is read on other days too.
pub(crate) fn write_clock(unix_us: u64, out: &mut Vec<u8>) {
    with_second(unix_us, |second| out.extend_from_slice(second.local.as_bytes()));
    out.push(b'.');
    write_padded(unix_us / 1_000 % 1_000, 3, out);
}

/// Appends `24/Nov/2026:12:33:00 +0100`.
pub(crate) fn write_combined(unix_us: u64, out: &mut Vec<u8>) {
    with_second(unix_us, |second| out.extend_from_slice(second.combined.as_bytes()));
}

/// Appends `2026-11-24T12:33:00.123456Z` (RFC 3339).
pub(crate) fn write_instant(unix_us: u64, out: &mut Vec<u8>) {
    with_second(unix_us, |second| out.extend_from_slice(second.utc.as_bytes()));
    out.push(b'.');
    write_padded(unix_us % 1_000_000, 6, out);
    out.push(b'Z');
}

fn with_second(unix_us: u64, with: impl FnOnce(&Second)) {
    let unix = unix_us / 1_000_000;
    LAST.with_borrow_mut(|last| {
        if last.unix != Some(unix) {
            // A clock beyond jiff's range shows its beginning instead.
            let at = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok()).unwrap_or_default();
            last.unix = Some(unix);
            let shown = |zone| at.to_zoned_datetime(zone).strftime("%Y-%m-%dT%H:%M:%S").to_string();
            last.utc = shown(TimeZone::UTC);
            last.local = shown(TimeZone::system());
            last.combined = at.to_zoned_datetime(TimeZone::system()).strftime("%d/%b/%Y:%H:%M:%S %z").to_string();
        }
        with(last);
    });
}

/// Appends a number with leading zeros.
pub(crate) fn write_padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let mut scale = 10u64.pow(u32::try_from(width).unwrap_or(1) - 1);
    while 0 < scale {
        out.push(b'0' + u8::try_from(number / scale % 10).expect("a digit"));
        scale /= 10;
    }
}

/// Appends a number.
pub(crate) fn write_number(number: u64, out: &mut Vec<u8>) {
    let width = number.checked_ilog10().map_or(1, |digits| digits as usize + 1);
    write_padded(number, width, out);
}

/// Appends microseconds as milliseconds with one decimal: `100.4`.
pub(crate) fn write_ms(us: u64, decimals: usize, out: &mut Vec<u8>) {
    write_number(us / 1_000, out);
    out.push(b'.');
    write_padded(us % 1_000 / 10u64.pow(3 - u32::try_from(decimals.min(3)).unwrap_or(3)), decimals, out);
}
