//! How a running Tierce has ended, in words and as an exit status.
//!
//! Invariant: 0 only if nothing that was accepted was cut off.

use std::time::Duration;

use control::Answer;

use crate::exit::Exit;

/// How it went down.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) text: String,
}

impl Ended {
    /// After `limit`, with so many requests cut off in the workers, and perhaps others on their way in or out.
    pub(crate) fn after(requests_cut: u64, connections_cut: bool, limit: Duration) -> Self {
        let what = match (requests_cut, connections_cut) {
            (0, false) => {
                return Self { exit: Exit::DONE, text: "stopped; nothing was cut off".to_owned() };
            }
            // The application has finished them, or has not begun: the clients were too slow.
            (0, true) => {
                let limit = units::show_duration(limit);
                format!("requests still being received or answered were not finished after {limit} and were cut off")
            }
            (cut, _) => cut_off(cut, limit),
        };
        Self { exit: Exit::FAILED, text: format!("stopped; {what}") }
    }

    /// For whoever asked for it.
    pub(crate) fn answer(&self) -> Answer {
        match self.exit {
            Exit::DONE => Answer::Done { text: self.text.clone() },
            // Whoever asked for the end did not interrupt it.
            _ => Answer::Refused { code: Exit::FAILED.0, text: format!("error: {}", self.text) },
        }
    }
}

/// `2 requests were not finished after 30s and were cut off`.
pub(crate) fn cut_off(requests: u64, limit: Duration) -> String {
    let limit = units::show_duration(limit);
    match requests {
        1 => format!("1 request was not finished after {limit} and was cut off"),
        _ => format!("{requests} requests were not finished after {limit} and were cut off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_decides_the_exit_status() {
        for (requests, connections, exit, text) in [
            (0, false, 0, "stopped; nothing was cut off"),
            (3, true, 1, "stopped; 3 requests were not finished after 30s and were cut off"),
            (1, false, 1, "stopped; 1 request was not finished after 30s and was cut off"),
            (3, false, 1, "stopped; 3 requests were not finished after 30s and were cut off"),
            (
                0,
                true,
                1,
                "stopped; requests still being received or answered were not finished after 30s and were cut off",
            ),
        ] {
            let ended = Ended::after(requests, connections, Duration::from_secs(30));
            assert_eq!((ended.exit, ended.text.as_str()), (Exit(exit), text));
        }
    }

    #[test]
    fn whoever_asked_for_the_end_is_told_how_it_was() {
        for (exit, code) in [(Exit::FAILED, 1), (Exit::INTERRUPTED, 1)] {
            let answer = Ended { exit, text: "x".to_owned() }.answer();
            assert_eq!(answer, Answer::Refused { code, text: "error: x".to_owned() });
        }
        let done = Ended { exit: Exit::DONE, text: "x".to_owned() }.answer();
        assert_eq!(done, Answer::Done { text: "x".to_owned() });
    }
}
