//! Files that have changed, and when it is time to reload for them: once they have come to rest.
//!
//! Editors write a file in several steps and under several names, and a checkout changes many files: all of that is to be
//! one reload. Invariant: whatever was noted and still makes a difference is taken exactly once.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// No change for so long: they have come to rest.
const QUIET: Duration = Duration::from_millis(100);

/// They are not waited for longer than this, should something write without end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Files that are kept by name; of more it only matters that there are some.
const FILES_MAX: usize = 1000;

/// What has happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It was not there before.
    Made,
    /// It has other contents, or may have.
    Written,
    /// It is gone.
    Removed,
}

#[derive(Debug)]
struct Changed {
    file: PathBuf,
    first: FileChange,
    last: FileChange,
}

/// Files that have changed since they were last taken.
#[derive(Debug, Default)]
pub struct Changes {
    files: Vec<Changed>,
    times: Option<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    first: Instant,
    last: Instant,
}

impl Changes {
    /// Something has happened to `file`.
    pub fn note(&mut self, now: Instant, file: PathBuf, change: FileChange) {
        let first = self.times.map_or(now, |times| times.first);
        self.times = Some(Times { first, last: now });
        if let Some(known) = self.files.iter_mut().find(|known| known.file == file) {
            known.last = change;
        } else if self.files.len() < FILES_MAX {
            self.files.push(Changed { file, first: change, last: change });
        }
    }

    /// When they are to be taken, as far as is known now.
    pub fn due(&self) -> Option<Instant> {
        self.times.map(|times| (times.last + QUIET).min(times.first + PATIENCE))
    }

    /// The files that are not as they were, in the order in which they changed first. What came and went is not among them.
    pub fn take(&mut self) -> Vec<PathBuf> {
        self.times = None;
        let differs = |changed: &Changed| (changed.first, changed.last) != (FileChange::Made, FileChange::Removed);
        std::mem::take(&mut self.files).into_iter().filter(differs).map(|changed| changed.file).collect()
    }
}

#[cfg(test)]
mod tests {
    use FileChange::{Made, Removed, Written};

    use super::*;

    /// Notes these changes, a millisecond each; returns when they are due, in milliseconds, and what is taken then.
    fn story(changes: &[(u64, &str, FileChange)]) -> (Option<u128>, Vec<String>) {
        let (mut all, start) = (Changes::default(), Instant::now());
        for (at, file, change) in changes {
            all.note(start + Duration::from_millis(*at), file.into(), *change);
        }
        let due = all.due().map(|due| (due - start).as_millis());
        let taken = all.take().into_iter().map(|file| file.display().to_string()).collect();
        assert_eq!((all.due(), all.take()), (None, Vec::new()), "taken once");
        (due, taken)
    }

    #[test]
    fn nothing_is_due_when_nothing_has_changed() {
        assert_eq!(story(&[]), (None, vec![]));
    }

    #[test]
    fn a_save_in_several_steps_is_one_change() {
        for steps in [
            &[(0, "a.py", Written), (1, "a.py", Written), (40, "a.py", Written)][..],
            // By a file that takes its name.
            &[(0, "new.py", Made), (5, "new.py", Written), (20, "new.py", Removed), (40, "a.py", Written)],
            // By a copy that is removed, the original being written anew.
            &[(0, "a.py", Removed), (0, "old.py", Made), (1, "a.py", Made), (40, "old.py", Removed)],
        ] {
            assert_eq!(story(steps), (Some(140), vec!["a.py".to_owned()]), "{steps:?}");
        }
    }

    #[test]
    fn what_was_there_and_is_gone_counts_and_what_only_came_and_went_does_not() {
        assert_eq!(story(&[(0, "a.py", Removed)]).1, ["a.py"]);
        assert_eq!(story(&[(0, "a.py", Written), (9, "a.py", Removed)]).1, ["a.py"]);
        assert_eq!(story(&[(0, "a.py", Removed), (5, "a.py", Made), (9, "a.py", Removed)]).1, ["a.py"]);
        assert_eq!(story(&[(0, "a.py", Made), (9, "a.py", Removed)]), (Some(109), vec![]));
    }

    #[test]
    fn files_keep_their_order_and_an_endless_writer_is_not_waited_for() {
        let writes: Vec<_> = (0..100).map(|n| (n * 50, if n == 0 { "first.py" } else { "b.py" }, Written)).collect();
        assert_eq!(story(&writes), (Some(2000), vec!["first.py".to_owned(), "b.py".to_owned()]));
    }

    #[test]
    fn names_are_bounded() {
        let mut changes = Changes::default();
        for n in 0..2 * FILES_MAX {
            changes.note(Instant::now(), format!("{n}.py").into(), Written);
        }
        assert_eq!(changes.take().len(), FILES_MAX);
    }
}
