//! Why there are as many workers as there are.

use std::{fmt, time::Duration};

use super::{CORE, Obstacle};

/// Why there are as many as there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StaffReason {
    /// More: they compute for this part of the time, and so many cores were free.
    Computing(f64, f64),
    /// More: requests waited so long for workers that run as many as `threads` allows.
    Threads(Duration),
    /// More: requests waited so long for workers that did not compute and did not start them either.
    Unstarted(Duration),
    /// Fewer: one fewer would have been enough for so long.
    Idle(Duration),
    /// They are busy for this part of the time.
    Enough(f64),
    /// The lower bound.
    AtLeast,
    /// Fewer would be enough; one leaves when that has been so for so long.
    SoonFewer(Duration),
    /// The upper bound, though requests wait.
    AtMost,
    /// Requests wait, and one more would wait for a core.
    CoresBusy,
    /// Requests wait, but for something else.
    Obstacle(Obstacle),
    /// A worker is being started.
    Awaited,
}

/// For people.
impl fmt::Display for StaffReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = |duration: Duration| {
            let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            units::show_duration(Duration::from_millis(ms.max(1)))
        };
        match *self {
            Self::Computing(share, spare) => {
                let percent = share * 100.0;
                write!(f, "requests wait for workers that compute, each for {percent:.0} % of the time, and ")?;
                match CORE <= spare {
                    true => write!(f, "{spare:.1} cores are free"),
                    false => f.write_str("others have more than half of the cores"),
                }
            }
            Self::Threads(wait) => {
                write!(f, "requests have waited {} for workers that run as many as `threads` allows", rounded(wait))
            }
            Self::Unstarted(wait) => {
                write!(f, "requests have waited {} for workers that did not start them", rounded(wait))
            }
            Self::Idle(time) => write!(f, "fewer have been enough for {}", units::show_duration(time)),
            Self::Enough(busy) => write!(f, "that many are needed: each is busy for {:.0} % of the time", busy * 100.0),
            Self::AtLeast => f.write_str("there is little to do, and `workers` allows no fewer"),
            Self::SoonFewer(time) => {
                write!(f, "one leaves when fewer have been enough for {}", units::show_duration(time))
            }
            Self::AtMost => f.write_str("requests wait, but `workers` allows no more"),
            Self::CoresBusy => f.write_str("requests wait, but all cores are busy: one more would not help"),
            Self::Obstacle(Obstacle::InFlight) => {
                f.write_str("requests wait because as many are in flight as may be: one more would not help")
            }
            Self::Obstacle(Obstacle::Memory) => f.write_str("requests wait, but memory is scarce"),
            Self::Awaited => f.write_str("a worker is being started"),
        }
    }
}
