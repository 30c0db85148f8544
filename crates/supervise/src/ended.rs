//! How a worker process has ended, in words; a kill for lack of memory is told from others by the kernel's own count.

use std::{cell::Cell, fs};

/// Signals that end programs (signal(7)).
const SIGNALS: [(i32, &str); 15] = [
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (24, "SIGXCPU"),
    (31, "SIGSYS"),
];

const KILL: i32 = 9;

/// Processes that the kernel has killed for lack of memory: on this machine, and in our own memory cgroup (version 2, 1).
const COUNTS: [&str; 3] = ["/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];

/// The kernel's counts when they were last looked at.
#[derive(Debug)]
pub(crate) struct OomKills(Cell<u64>);

impl OomKills {
    pub(crate) fn new() -> Self {
        Self(Cell::new(count()))
    }

    /// Whether there were more since this was last asked.
    fn has_grown(&self) -> bool {
        let now = count();
        self.0.replace(now) < now
    }
}

fn count() -> u64 {
    COUNTS.iter().filter_map(|path| fs::read_to_string(path).ok()).map(|text| oom_kills(&text)).sum()
}

/// The number behind `oom_kill`, in whichever of the files.
fn oom_kills(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
    lines.filter_map(|number| number.trim().parse::<u64>().ok()).sum()
}

/// `exited with 3`, `was killed by signal 11 (SIGSEGV)`, …
pub(crate) fn in_words(code: Option<i32>, signal: Option<i32>, kills: &OomKills) -> String {
    match (code, signal) {
        (_, Some(KILL)) if kills.has_grown() => {
            "was killed by the kernel, because memory ran out (OOM); limits.memory replaces workers before they are \
             that large"
                .to_owned()
        }
        (_, Some(signal)) => match SIGNALS.iter().find(|(number, _)| *number == signal) {
            Some((_, name)) => format!("was killed by signal {signal} ({name})"),
            None => format!("was killed by signal {signal}"),
        },
        (Some(code), None) => format!("exited with {code}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_found_in_all_its_files() {
        assert_eq!(oom_kills("nr_free_pages 1\noom_kill 7\ndrop_pagecache 0\n"), 7);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), 1);
        assert_eq!(oom_kills(""), 0);
    }

    #[test]
    fn ends_are_named() {
        let kills = OomKills::new();
        assert_eq!(in_words(Some(3), None, &kills), "exited with 3");
        assert_eq!(in_words(None, Some(11), &kills), "was killed by signal 11 (SIGSEGV)");
        assert_eq!(in_words(None, Some(34), &kills), "was killed by signal 34");
    }

    #[test]
    fn a_kill_for_lack_of_memory_is_told_once() {
        let kills = OomKills(Cell::new(count()));
        // As if one had happened since.
        kills.0.set(kills.0.get().wrapping_sub(1));
        assert!(count() == 0 || in_words(None, Some(KILL), &kills).contains("OOM"));
        assert_eq!(in_words(None, Some(KILL), &kills), "was killed by signal 9 (SIGKILL)");
    }
}
