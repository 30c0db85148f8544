//! How many files of one thread may be open at a time: descriptors are also what connections and workers need.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use units::{Cause, Ending, Phase};

/// The right to open files, for as many requests as there are permits.
#[derive(Debug)]
pub(crate) struct FileSlots(Semaphore);

impl FileSlots {
    /// Of the tenth that connections leave of all descriptors four fifths; for each request one file, and one more for a moment. One
    /// fifth is that of the files which are kept.
    pub(crate) fn new(connections_max: usize) -> Self {
        Self(Semaphore::new((connections_max / 25).max(8)))
    }

    /// Waits for the right, at most so long.
    pub(crate) async fn take(&self, patience: Duration) -> Result<SemaphorePermit<'_>, Ending> {
        if let Ok(permit) = self.0.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout(patience, self.0.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Ending::new(Cause::QueueTimeout, Phase::Queue)),
        }
    }
}
