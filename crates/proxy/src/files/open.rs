//! A path below a directory, and nothing else.
//!
//! Invariant: the kernel itself keeps the path below the directory (openat2(2), RESOLVE_BENEATH); where it cannot, no symbolic link
//! is followed at all.

use std::{os::fd::OwnedFd, path::Path, rc::Rc};

use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open as open_directory, openat, openat2},
    io::Errno,
};

use super::kept::Stamp;

/// A regular file.
#[derive(Debug)]
pub(crate) struct Regular {
    pub(crate) descriptor: Rc<OwnedFd>,
    pub(crate) length: u64,
    /// In seconds since 1970 began.
    pub(crate) modified: u64,
    pub(crate) nanoseconds: u64,
    pub(super) stamp: Stamp,
}

impl Regular {
    pub(super) fn new(descriptor: Rc<OwnedFd>, stat: &Stat) -> Self {
        Self {
            descriptor,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            modified: u64::try_from(stat.st_mtime).unwrap_or(0),
            nanoseconds: stat.st_mtime_nsec,
            stamp: Stamp::of(stat),
        }
    }
}

/// What a path turned out to be.
#[derive(Debug)]
pub(crate) enum Opened {
    File(Regular),
    Directory,
    /// It is there and may not be read.
    Denied,
    /// Nothing that can be read, or nothing below the directory.
    Nothing,
}

/// A path can be renamed while it is walked; the kernel then asks to try again.
const TRIES: usize = 4;

/// Neither waits for whoever writes into a pipe nor becomes anybody's terminal.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens `name` below `directory`, which is looked up each time: it may be made, or be exchanged, while Tierce runs.
pub(crate) fn open(directory: &Path, name: &[u8]) -> Opened {
    let name = if name.is_empty() { b"." } else { name };
    match open_directory(directory, DIRECTORY, Mode::empty()).and_then(|root| beneath(&root, name)) {
        Ok(descriptor) => inspect(descriptor),
        Err(Errno::ACCESS | Errno::PERM) => Opened::Denied,
        // Anything else is not there: missing, no directory, too long, a link that leads out or in circles.
        Err(_) => Opened::Nothing,
    }
}

fn beneath(root: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match openat2(root, name, FLAGS, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // An old kernel, or a filter of system calls that does not know this one.
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, name),
            opened => return opened,
        }
    }
    Err(Errno::NOENT)
}

/// Goes segment by segment, and through no symbolic link.
fn walk(root: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let mut segments = name.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let last = segments.next_back().unwrap_or(b".");
    let mut directory = openat(root, c".", DIRECTORY, Mode::empty())?;
    for segment in segments {
        if segment == b".." {
            return Err(Errno::NOENT);
        }
        directory = openat(&directory, segment, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    }
    if last == b".." {
        return Err(Errno::NOENT);
    }
    openat(&directory, last, FLAGS | OFlags::NOFOLLOW, Mode::empty())
}

fn inspect(descriptor: OwnedFd) -> Opened {
    let Ok(stat) = fstat(&descriptor) else { return Opened::Nothing };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Opened::Directory,
        FileType::RegularFile => Opened::File(Regular::new(Rc::new(descriptor), &stat)),
        _ => Opened::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_outside_is_opened_in_either_way() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("css/deep")).unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        fs::write(root.join("css/a.css"), "a").unwrap();
        symlink("../../secret", root.join("css/out")).unwrap();
        symlink(place.path().join("secret"), root.join("absolute")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        symlink("css/a.css", root.join("inner")).unwrap();
        let root_fd = open_directory(&root, DIRECTORY, Mode::empty()).unwrap();
        for (name, kernel, walked) in [
            ("css/a.css", true, true),
            ("css", true, true),
            ("inner", true, false),
            ("css/out", false, false),
            ("absolute", false, false),
            ("up/secret", false, false),
            ("circle", false, false),
            ("../secret", false, false),
            ("css/../../secret", false, false),
            ("css/deep/../a.css", true, false),
            ("/etc/passwd", false, false),
            ("nothing", false, false),
            ("css/a.css/b", false, false),
        ] {
            assert_eq!(beneath(&root_fd, name.as_bytes()).is_ok(), kernel, "{name} by the kernel");
            assert_eq!(walk(&root_fd, name.as_bytes()).is_ok(), walked, "{name} by hand");
        }
        assert!(matches!(open(&root, b"css"), Opened::Directory));
        assert!(matches!(open(&root, b""), Opened::Directory));
        assert!(matches!(open(&place.path().join("missing"), b"a"), Opened::Nothing));
    }
}
