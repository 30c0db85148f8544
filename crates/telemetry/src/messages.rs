//! Messages of Tierce itself, written by a thread of their own.
//!
//! Invariant: whoever has something to say never waits for a reader; at most [`MESSAGES_MAX`] messages wait, and what did
//! not find room is counted.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Messages that may wait for a reader.
const MESSAGES_MAX: usize = 256;

enum Item {
    Text(String),
    Then(Box<dyn FnOnce() + Send>),
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    texts: usize,
    /// Messages that were dropped since this was last said.
    dropped: u64,
    writing: bool,
    closing: bool,
}

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The way to whoever reads messages; clones lead to the same one.
#[derive(Clone)]
pub struct Messages {
    inner: Arc<Inner>,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

impl Messages {
    /// Starts the thread; `write` shows one message and may take as long as it likes.
    pub fn start(write: impl FnMut(&str) + Send + 'static) -> io::Result<Self> {
        let inner = Arc::<Inner>::default();
        let queue = Arc::clone(&inner);
        // Not joined: it may wait for its reader for ever, and has nothing to lose.
        std::thread::Builder::new().name("messages".to_owned()).spawn(move || queue.run(write))?;
        Ok(Self { inner })
    }

    /// Shows `text` when its turn has come.
    pub fn show(&self, text: &str) {
        let mut queue = self.inner.queue();
        if queue.texts < MESSAGES_MAX {
            queue.texts += 1;
            queue.items.push_back(Item::Text(text.to_owned()));
        } else {
            queue.dropped += 1;
        }
        self.inner.changed.notify_all();
    }

    /// Does something when everything before it has been shown.
    pub fn then(&self, act: impl FnOnce() + Send + 'static) {
        self.inner.queue().items.push_back(Item::Then(Box::new(act)));
        self.inner.changed.notify_all();
    }

    /// Shows what waits, at most so long, and ends the thread.
    pub fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut queue = self.inner.queue();
        queue.closing = true;
        self.inner.changed.notify_all();
        while queue.writing || !queue.items.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.inner.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut write: impl FnMut(&str)) {
        let mut queue = self.queue();
        loop {
            let Some(item) = queue.items.pop_front() else {
                if queue.closing {
                    return;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.writing = true;
            drop(queue);
            match item {
                Item::Text(text) => {
                    write(&text);
                    let dropped = {
                        let mut queue = self.queue();
                        queue.texts -= 1;
                        std::mem::take(&mut queue.dropped)
                    };
                    if 0 < dropped {
                        write(&format!("{dropped} messages were dropped, as nobody read them; the log has them"));
                    }
                }
                Item::Then(act) => act(),
            }
            queue = self.queue();
            queue.writing = false;
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let (reader, turns) = mpsc::channel::<()>();
        let (shown, seen) = mpsc::channel();
        let messages = Messages::start(move |text| {
            // Each message waits for its reader; when there is none any more, all are shown.
            let _ = turns.recv();
            let _ = shown.send(text.to_owned());
        })
        .unwrap();
        for nth in 0..2 * MESSAGES_MAX {
            messages.show(&nth.to_string());
        }
        let (done, is_done) = mpsc::channel();
        messages.then(move || done.send(()).unwrap());
        messages.close(Duration::ZERO);
        assert!(is_done.try_recv().is_err(), "it comes after what waits");
        drop(reader);
        is_done.recv().unwrap();
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen[0], "0");
        assert!(seen[1].starts_with(&format!("{MESSAGES_MAX} messages were dropped")), "{}", seen[1]);
        assert_eq!(seen.len(), MESSAGES_MAX + 1);
    }

    #[test]
    fn the_end_waits_for_what_can_be_shown() {
        let (shown, seen) = mpsc::channel();
        let messages = Messages::start(move |text| shown.send(text.to_owned()).unwrap()).unwrap();
        messages.show("one");
        messages.show("two");
        messages.close(Duration::from_secs(60));
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
