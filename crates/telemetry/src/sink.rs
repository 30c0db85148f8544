//! From many producers to one writer thread.
//!
//! Access lines are dropped, and counted, when the writer cannot keep up; an application's lines are refused instead, so
//! that whoever reads its pipe waits and the application slows itself. Invariant: at most [`QUEUE_MAX`] bytes wait, and
//! [`RECORDS_MAX`] more of what Tierce itself records.

use std::{
    collections::VecDeque,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    lines::{About, LineFormat, write_message},
    messages::Messages,
    rotate::RotatingFile,
};

/// Bytes that may wait for the writer.
const QUEUE_MAX: usize = 8 << 20;

/// Room that only records have, so that they are there when requests and applications have filled the rest.
const RECORDS_MAX: usize = 1 << 20;

/// Bytes of one log file; there are four.
const FILE_MAX: u64 = 16 << 20;

/// How long the end of the process waits for a slow reader of standard output.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Where lines go besides the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output too.
    Stdout,
    /// The file only.
    FileOnly,
    /// Standard output only, and there is no file.
    StdoutOnly,
}

/// Who reads a block besides those who read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Whoever reads standard output.
    Output,
    Nobody,
}

#[derive(Debug)]
struct Queue {
    blocks: VecDeque<(Vec<u8>, Audience)>,
    bytes: usize,
    /// Lines that were dropped since this was last said.
    dropped: u64,
    closing: bool,
    done: bool,
    format: LineFormat,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// The way into the log; clones lead to the same one.
#[derive(Clone, Debug)]
pub struct LogSink {
    inner: Arc<Inner>,
    messages: Messages,
    /// Whose log this is, where it is a single node's.
    node: Option<Arc<str>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl LogSink {
    /// Starts the writer. Its file is `directory/tierce.log`.
    pub fn start(directory: PathBuf, output: Output, format: LineFormat, messages: Messages) -> io::Result<Self> {
        // At once, so that whoever wants to follow the log finds its place.
        crate::rotate::make(&directory)?;
        let file = RotatingFile::new(directory, FILE_MAX);
        Self::write((Some(file), output), format, messages, None)
    }

    /// The same for a single node whose platform keeps what is written to standard output: there is no file, and messages of
    /// Tierce itself are lines there too, unless a person reads them.
    pub fn start_of_node(node: &str, format: LineFormat, messages: Messages) -> io::Result<Self> {
        Self::write((None, Output::StdoutOnly), format, messages, Some(node.into()))
    }

    fn write(
        (file, output): (Option<RotatingFile>, Output),
        format: LineFormat,
        messages: Messages,
        node: Option<Arc<str>>,
    ) -> io::Result<Self> {
        let inner = Arc::new(Inner::new(format));
        let mut writer = Writer { file, output, messages: messages.clone(), file_failed: false };
        let queue = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || queue.run(&mut writer))?;
        Ok(Self { inner, messages, node, writer: Arc::new(Mutex::new(Some(thread))) })
    }

    /// How lines are written.
    pub fn format(&self) -> LineFormat {
        self.inner.queue().format
    }

    /// From now on lines are written like this.
    pub fn set_format(&self, format: LineFormat) {
        self.inner.queue().format = format;
    }

    /// Takes a block of access lines, or drops it when the writer is too far behind. Never waits for the writer.
    pub fn offer_access_block(&self, block: Vec<u8>) {
        let mut queue = self.inner.queue();
        queue.push_within(QUEUE_MAX, block, Audience::Output);
        self.inner.changed.notify_all();
    }

    /// Takes a block of an application's lines; gives it back when there is no room, to be offered again a little later.
    pub fn offer_app_block(&self, block: Vec<u8>) -> Result<(), Vec<u8>> {
        let mut queue = self.inner.queue();
        if QUEUE_MAX / 2 < queue.bytes {
            return Err(block);
        }
        queue.push(block, Audience::Output);
        self.inner.changed.notify_all();
        Ok(())
    }

    /// A message of Tierce itself: to whoever looks, and to the file.
    pub fn message(&self, text: &str) {
        self.message_about(About::Tierce, text);
    }

    /// A message about a part of it, which it names.
    pub fn message_about(&self, about: About<'_>, text: &str) {
        // Both would come to whoever reads the log of a node.
        match (&self.node, self.format()) {
            (Some(_), LineFormat::Json) => self.record_about(about, text),
            (Some(_), LineFormat::Text) => self.messages.show(text),
            (None, _) => {
                self.messages.show(text);
                self.record_about(about, text);
            }
        }
    }

    /// The same for whoever looks only.
    pub fn messages(&self) -> &Messages {
        &self.messages
    }

    /// The same for the file only.
    pub fn record(&self, text: &str) {
        self.record_about(About::Tierce, text);
    }

    /// The same about a part of it.
    pub fn record_about(&self, about: About<'_>, text: &str) {
        let about = match (about, &self.node) {
            (About::Tierce, Some(node)) => About::Node(node),
            (about, _) => about,
        };
        let mut line = Vec::new();
        write_message(unix_us(), about, text, self.format(), &mut line);
        self.inner.queue().push_within(QUEUE_MAX + RECORDS_MAX, line, Audience::Nobody);
        self.inner.changed.notify_all();
    }

    /// Writes what waits and ends the writers; gives up on a reader that takes nothing.
    pub fn close(&self) {
        let deadline = Instant::now() + CLOSE_WAIT;
        self.messages.close(CLOSE_WAIT);
        let mut queue = self.inner.queue();
        queue.closing = true;
        self.inner.changed.notify_all();
        while !queue.done {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.inner.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        if let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It has said that it is done; a panic on its last steps is nothing to act on.
            let _ = thread.join();
        }
    }
}

/// Microseconds since 1970.
fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl Queue {
    fn push(&mut self, block: Vec<u8>, audience: Audience) {
        self.bytes += block.len();
        self.blocks.push_back((block, audience));
    }

    /// The same if no more than `limit` wait then; otherwise its lines are counted.
    fn push_within(&mut self, limit: usize, block: Vec<u8>, audience: Audience) {
        if limit < self.bytes + block.len() {
            self.dropped += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        } else {
            self.push(block, audience);
        }
    }
}

impl Inner {
    fn new(format: LineFormat) -> Self {
        let queue = Queue { blocks: VecDeque::new(), bytes: 0, dropped: 0, closing: false, done: false, format };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, writer: &mut Writer) {
        loop {
            let mut queue = self.queue();
            while queue.blocks.is_empty() && queue.dropped == 0 && !queue.closing {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let blocks = std::mem::take(&mut queue.blocks);
            let dropped = std::mem::take(&mut queue.dropped);
            let ended = queue.closing && blocks.is_empty() && dropped == 0;
            queue.done |= ended;
            let format = queue.format;
            drop(queue);
            if ended {
                self.changed.notify_all();
                return;
            }
            for (block, audience) in blocks {
                writer.write(&block, audience);
                self.queue().bytes -= block.len();
            }
            if 0 < dropped {
                let mut line = Vec::new();
                let text = format!("{dropped} log lines were dropped: the log is written more slowly than they come");
                write_message(unix_us(), About::Tierce, &text, format, &mut line);
                writer.write(&line, Audience::Output);
            }
        }
    }
}

#[derive(Debug)]
struct Writer {
    file: Option<RotatingFile>,
    output: Output,
    messages: Messages,
    file_failed: bool,
}

impl Writer {
    fn write(&mut self, block: &[u8], audience: Audience) {
        match self.file.as_mut().map_or(Ok(()), |file| file.write(block)) {
            Ok(()) => self.file_failed = false,
            // Said once; the next block is tried again, as a full disk may have room by then.
            Err(error) if !std::mem::replace(&mut self.file_failed, true) => {
                self.messages.show(&format!("error: cannot write the log file: {error}"));
            }
            Err(_) => {}
        }
        let is_for_stdout = match self.output {
            Output::Stdout => audience == Audience::Output,
            Output::StdoutOnly => true,
            Output::FileOnly => false,
        };
        if is_for_stdout {
            let mut stdout = io::stdout().lock();
            if stdout.write_all(block).and_then(|()| stdout.flush()).is_err() {
                // Nobody reads it any more (`tierce up | head`); the file goes on.
                self.output = Output::FileOnly;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_written_and_the_rest_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let messages = Messages::start(|_| ()).unwrap();
        let sink = LogSink::start(directory.path().to_owned(), Output::FileOnly, LineFormat::Text, messages).unwrap();
        sink.offer_access_block(b"one\ntwo\n".to_vec());
        sink.offer_access_block(vec![b'\n'; QUEUE_MAX + 1]);
        assert!(sink.offer_app_block(b"three\n".to_vec()).is_ok());
        sink.close();
        let text = std::fs::read_to_string(directory.path().join("tierce.log")).unwrap();
        assert!(text.starts_with("one\ntwo\n"), "{text}");
        assert!(text.contains("three\n"), "{text}");
        assert!(text.contains(&format!("{} log lines were dropped", QUEUE_MAX + 1)), "{text}");
    }

    #[test]
    fn an_application_that_prints_too_fast_is_refused() {
        let sink = without_writer();
        let mut taken = 0;
        while sink.offer_app_block(vec![b'x'; 1 << 20]).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, QUEUE_MAX / (2 << 20) + 1);
    }

    #[test]
    fn what_is_recorded_finds_room_when_requests_have_filled_the_rest_and_is_bounded_too() {
        let sink = without_writer();
        sink.offer_access_block(vec![b'\n'; QUEUE_MAX]);
        for _ in 0..2 * RECORDS_MAX / 1024 {
            sink.record(&"x".repeat(1024));
        }
        let queue = sink.inner.queue();
        assert!(QUEUE_MAX + RECORDS_MAX / 2 < queue.bytes && queue.bytes <= QUEUE_MAX + RECORDS_MAX, "{}", queue.bytes);
        assert!(0 < queue.dropped);
    }

    fn without_writer() -> LogSink {
        let inner = Arc::new(Inner::new(LineFormat::Text));
        LogSink { inner, messages: Messages::start(|_| ()).unwrap(), node: None, writer: Arc::default() }
    }
}
