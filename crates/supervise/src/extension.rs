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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_read_by_its_number_and_not_be_changed() {
        let extension = Extension::new(b"code").unwrap();
        let path = format!("/proc/self/fd/{}", extension.number());
        assert_eq!(std::fs::read(&path).unwrap(), b"code");
        assert!(File::options().write(true).open(&path).and_then(|mut file| file.write_all(b"evil")).is_err());
        assert!(File::options().write(true).open(&path).and_then(|file| file.set_len(0)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"code");
    }
}
