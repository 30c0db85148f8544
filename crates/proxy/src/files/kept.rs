//! Files that stay open from one request to the next: who asks for one again costs one look at its path in place of opening it.
//!
//! Invariant: a kept file is used only where opening its path at this moment would open it. A look (lstat) tells whether the path names
//! the same inode, of which nothing has changed that could take the right to read it away; that number is nobody else's while the file is
//! open. Each segment before the last has to be a directory, and no link, so that the path stays below its directory. What is sent is
//! read from the file when it is sent, and what is said of it is of this look. So nothing is ever older than the request.
//!
//! Only what has come to rest is kept, on file systems that no other machine can change.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    rc::Rc,
};

use rustix::{
    fs::{FileType, Stat, fstatfs, lstat},
    io::Errno,
};

use super::open::{self, Opened, Regular};

/// A change within the same tick of the kernel's clock (some milliseconds) does not show, and is told by seconds here.
const REST: i64 = 2;

/// Numbers of file systems (statfs(2)) whose changes are all this kernel's: ext, XFS, Btrfs, F2FS, ZFS, bcachefs, tmpfs, overlayfs,
/// SquashFS and EROFS.
const LOCAL: [u32; 10] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0xf2f5_2010,
    0x2fc1_2fc1,
    0xca45_1a4e,
    0x0102_1994,
    0x794c_7630,
    0x7371_7368,
    0xe0f5_e1e2,
];

/// The files of one thread that stay open.
#[derive(Debug)]
pub(crate) struct KeptFiles {
    most: usize,
    /// By their paths.
    files: RefCell<HashMap<Vec<u8>, Kept>>,
}

#[derive(Debug)]
struct Kept {
    descriptor: Rc<OwnedFd>,
    stamp: Stamp,
    /// Since it was last tidied.
    used: Cell<bool>,
}

/// Which file it is, and what changes with the right to read it. Whatever else is changed of a file, the time of the change
/// changes too; on overlayfs also when a file becomes another that can be written to, with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, u64),
    mode: u32,
    owner: (u32, u32),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

/// What lies below a directory, at this time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Below<'a> {
    kept: &'a KeptFiles,
    pub(super) directory: &'a Path,
    /// In seconds since 1970 began.
    pub(super) now: u64,
}

impl KeptFiles {
    /// A quarter as many as there may be others, see [`super::FileSlots`].
    pub(crate) fn new(connections_max: usize) -> Self {
        Self { most: (connections_max / 50).clamp(8, 1024), files: RefCell::default() }
    }

    pub(super) fn below<'a>(&'a self, directory: &'a Path, now: u64) -> Below<'a> {
        Below { kept: self, directory, now }
    }

    /// Closes what nobody has asked for since the last time.
    pub(crate) fn tidy(&self) {
        self.files.borrow_mut().retain(|_, file| file.used.replace(false));
    }
}

impl Below<'_> {
    /// Opens what `name` names, or takes it as it was kept.
    pub(super) fn open(&self, name: &[u8]) -> Opened {
        // Only where each segment leads one step down is a path that leads through directories one that stays below.
        if name.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"" | b"." | b"..")) {
            return open::open(self.directory, name);
        }
        let path = [self.directory.as_os_str().as_bytes(), b"/", name].concat();
        let stat = match lstat(&*path) {
            Ok(stat) => stat,
            // What is not even there when all links are followed is not there when some are not.
            Err(Errno::NOENT | Errno::NOTDIR) => return Opened::Nothing,
            Err(_) => return open::open(self.directory, name),
        };
        if let Some(descriptor) = self.take(&path, name, &stat) {
            return Opened::File(Regular::new(descriptor, &stat));
        }
        let opened = open::open(self.directory, name);
        if let Opened::File(file) = &opened {
            self.keep(path, name, Stamp::of(&stat), file);
        }
        opened
    }

    fn take(&self, path: &[u8], name: &[u8], stat: &Stat) -> Option<Rc<OwnedFd>> {
        let mut files = self.kept.files.borrow_mut();
        let file = files.get(path)?;
        if file.stamp == Stamp::of(stat) && leads_down(path, name) {
            file.used.set(true);
            return Some(Rc::clone(&file.descriptor));
        }
        files.remove(path);
        None
    }

    /// Keeps what has been opened, if that is what was seen and can be found so again.
    fn keep(&self, path: Vec<u8>, name: &[u8], seen: Stamp, file: &Regular) {
        let mut files = self.kept.files.borrow_mut();
        let is_resting = i64::try_from(self.now).is_ok_and(|now| seen.changed.0.saturating_add(REST) < now);
        let may_stay = file.stamp == seen && is_resting && files.len() < self.kept.most;
        if may_stay && leads_down(&path, name) && is_local(&file.descriptor) {
            files.insert(path, Kept { descriptor: Rc::clone(&file.descriptor), stamp: seen, used: Cell::new(true) });
        }
    }
}

/// Whether the segments of `name`, with which `path` ends, lead through directories and no links.
fn leads_down(path: &[u8], name: &[u8]) -> bool {
    let start = path.len() - name.len();
    memchr::memchr_iter(b'/', name).all(|end| is_directory(&path[..start + end]))
}

fn is_directory(path: &[u8]) -> bool {
    lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn is_local(file: impl AsFd) -> bool {
    // The number is one of 32 bits, and its type is not the same everywhere.
    fstatfs(file).is_ok_and(|system| LOCAL.iter().any(|known| i128::from(*known) == i128::from(system.f_type)))
}

#[cfg(test)]
mod tests;
