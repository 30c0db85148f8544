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

/// A kind of end, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndKind {
    /// It was to leave: replaced, scaled down, stopped.
    Left,
    /// It has exited by itself.
    Exit,
    /// A signal has killed it.
    Signal,
    /// The kernel has, for lack of memory.
    Memory,
    /// It could not be made.
    NotForked,
}

/// How many workers have ended, by kind.
#[derive(Debug, Default)]
pub(crate) struct Ends([Cell<u64>; 5]);

impl Ends {
    const NAMES: [&str; 5] = ["left", "exit", "signal", "out_of_memory", "not_forked"];

    pub(crate) fn count(&self, kind: EndKind) {
        let cell = &self.0[kind as usize];
        cell.set(cell.get() + 1);
    }

    pub(crate) fn by_kind(&self) -> Vec<(&'static str, u64)> {
        Self::NAMES.iter().copied().zip(self.0.iter().map(Cell::get)).collect()
    }
}

/// An end and its words: `exited with 3`, `was killed by signal 11 (SIGSEGV)`, …
#[derive(Clone, Debug)]
pub(crate) struct How {
    pub(crate) kind: EndKind,
    pub(crate) words: String,
}

/// How a process has ended.
pub(crate) fn how(code: Option<i32>, signal: Option<i32>, kills: &OomKills) -> How {
    let (kind, words) = match (code, signal) {
        (_, Some(KILL)) if kills.has_grown() => (
            EndKind::Memory,
            "was killed by the kernel, because memory ran out (OOM); limits.memory replaces workers before they are \
             that large"
                .to_owned(),
        ),
        (_, Some(signal)) => match SIGNALS.iter().find(|(number, _)| *number == signal) {
            Some((_, name)) => (EndKind::Signal, format!("was killed by signal {signal} ({name})")),
            None => (EndKind::Signal, format!("was killed by signal {signal}")),
        },
        (Some(code), None) => (EndKind::Exit, format!("exited with {code}")),
        (None, None) => (EndKind::Exit, "ended".to_owned()),
    };
    How { kind, words }
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

    fn in_words(code: Option<i32>, signal: Option<i32>, kills: &OomKills) -> String {
        how(code, signal, kills).words
    }

    #[test]
    fn ends_are_counted_by_kind() {
        let ends = Ends::default();
        for kind in [EndKind::Left, EndKind::Memory, EndKind::Memory, EndKind::NotForked] {
            ends.count(kind);
        }
        let expected = [("left", 1), ("exit", 0), ("signal", 0), ("out_of_memory", 2), ("not_forked", 1)];
        assert_eq!(ends.by_kind(), expected);
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
