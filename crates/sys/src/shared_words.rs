//! Words of memory that two processes share.
//!
//! Invariant: the mapping is exactly as long as the slice that is handed out, and the memory behind it cannot shrink
//! (its size is sealed), so that no access can fault.
#![allow(unsafe_code)]

use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    ptr::NonNull,
    sync::atomic::AtomicU32,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

const WORD: usize = size_of::<AtomicU32>();

/// A shared array of atomic words, zero at first.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU32>,
    words: usize,
}

// SAFETY: the memory is only reached through `&[AtomicU32]`, which any thread may use at any time.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Makes `words` words and the descriptor by which another process maps them (close-on-exec, size sealed).
    pub fn create(words: usize) -> io::Result<(Self, OwnedFd)> {
        let file = memfd_create(c"tierce-ledger", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, (words * WORD) as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Self::map(&file, words)?, file))
    }

    /// Maps the words behind a descriptor that [`SharedWords::create`] of another process has made.
    pub fn from_fd(file: OwnedFd) -> io::Result<Self> {
        if !fcntl_get_seals(&file)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the shared memory could shrink"));
        }
        let size = usize::try_from(fstat(&file)?.st_size).map_err(|_| io::ErrorKind::InvalidInput)?;
        Self::map(&file, size / WORD)
    }

    fn map(file: impl AsFd, words: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses; it overlaps nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), words * WORD, access, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, words })
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU32];

    fn deref(&self) -> &[AtomicU32] {
        // SAFETY: the mapping holds `words` aligned words, cannot shrink, and lives until `drop`; the other process
        // writes to them too, which atomics allow.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: made by `map` with this length; no borrow of it outlives `self`. Failure would leak, no more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * WORD) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[test]
    fn both_mappings_see_the_same_words() {
        let (ours, file) = SharedWords::create(1024).unwrap();
        let theirs = SharedWords::from_fd(file).unwrap();
        assert_eq!(theirs.len(), 1024);
        ours[1023].store(7, SeqCst);
        assert_eq!(theirs[1023].load(SeqCst), 7);
    }

    #[test]
    fn memory_that_could_shrink_is_refused() {
        let file = memfd_create(c"loose", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, 4096).unwrap();
        assert!(SharedWords::from_fd(file).is_err());
    }
}
