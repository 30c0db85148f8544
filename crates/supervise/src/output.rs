//! What applications print: pipes, line by line, into the log.
//!
//! Invariant: a line is passed on whole; when the log has no room the pipe is not read, so that the application waits,
//! and nobody else.

use std::{
    cell::Cell,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use telemetry::LogSink;
use tokio::{io::AsyncReadExt, net::unix::pipe};

/// A line longer than this is passed on in pieces.
const LINE_MAX: usize = 64 * 1024;

/// How long to wait for room in the log.
const ROOM_WAIT: Duration = Duration::from_millis(10);

/// Reads the pipe until its last writer has gone. `pid` is 0 until it is known whose it is.
pub(crate) async fn forward(pipe: OwnedFd, node: String, pid: Rc<Cell<u32>>, sink: LogSink) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(pipe) else { return };
    let mut buffer = Vec::with_capacity(LINE_MAX);
    loop {
        let count = pipe.read_buf(&mut buffer).await.unwrap_or(0);
        let whole = match buffer.iter().rposition(|byte| *byte == b'\n') {
            _ if count == 0 || LINE_MAX <= buffer.len() => buffer.len(),
            Some(at) => at + 1,
            None => 0,
        };
        if 0 < whole {
            let mut lines = Vec::new();
            for line in buffer[..whole].split_inclusive(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                telemetry::write_app_line(unix_us(), &node, pid.get(), line, sink.format(), &mut lines);
            }
            buffer.drain(..whole);
            while let Err(again) = sink.offer_app_block(lines) {
                lines = again;
                tokio::time::sleep(ROOM_WAIT).await;
            }
        }
        if count == 0 {
            return;
        }
    }
}

fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
