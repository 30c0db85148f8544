//! The worker's code, out of this binary: a file in memory that children open by its number.
//!
//! Nothing is unpacked, so nothing can be stale, tampered with, or forbidden by a read-only or noexec file system.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

/// The worker extension as a file that only this process and its children see.
#[derive(Debug)]
pub struct Extension {
    file: OwnedFd,
}

impl Extension {
    /// Puts the extension's bytes into memory, unchangeable from then on.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(c"tierce-worker", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.write_all(bytes)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        Ok(Self { file: file.into() })
    }

    /// Its number, here and in children that keep it.
    pub(crate) fn number(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
