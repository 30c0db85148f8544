//! Where environments are, and which of them are in use.
//!
//! Invariant: an environment that anybody runs is not removed. Whoever runs one holds the lock of its stamp together with
//! others, whoever removes one holds it alone; the kernel gives it back when the process ends in any way.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The usual one in the project.
pub(crate) const PLACE: &str = ".tierce/venv";

/// Says what an environment was made from.
pub(super) const STAMP: &str = "tierce-stamp";

/// So many generations can be running or ending with environments of their own while the next one is made.
const PLACES_MAX: u32 = 8;

/// The right to run an environment, which is not removed as long as this lives.
#[derive(Debug)]
pub(crate) struct Hold {
    _stamp: File,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removal {
    Done,
    /// Somebody runs it.
    InUse,
}

fn all(project: &Path) -> impl Iterator<Item = PathBuf> {
    let usual = project.join(PLACE);
    let others = (2..=PLACES_MAX).map({
        let usual = usual.clone();
        move |number| usual.with_extension(number.to_string())
    });
    std::iter::once(usual).chain(others)
}

/// The environments that were finished, the newest first.
pub(super) fn finished(project: &Path) -> Vec<PathBuf> {
    let time = |venv: &PathBuf| venv.join(STAMP).metadata().and_then(|stamp| stamp.modified()).ok();
    let mut found: Vec<_> = all(project).filter_map(|venv| Some((time(&venv)?, venv))).collect();
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    found.into_iter().map(|(_, venv)| venv).collect()
}

/// An empty place for the next one; `None` when all are in use. The newest stays too: if making another one fails, it
/// is the one that is there.
pub(super) fn clear_one(project: &Path) -> Result<Option<PathBuf>, (PathBuf, io::Error)> {
    let newest = finished(project).into_iter().next();
    for venv in all(project).filter(|venv| Some(venv) != newest.as_ref()) {
        match remove(&venv) {
            Ok(Removal::Done) => return Ok(Some(venv)),
            Ok(Removal::InUse) => {}
            Err(error) => return Err((venv, error)),
        }
    }
    Ok(None)
}

/// The right to run an environment and what its stamp says; `None` when it is not finished, or about to be removed.
pub(super) fn hold(venv: &Path) -> Option<(Hold, String)> {
    let stamp = File::open(venv.join(STAMP)).ok()?;
    flock(&stamp, FlockOperation::NonBlockingLockShared).ok()?;
    let text = io::read_to_string(&stamp).ok()?;
    // Before it was locked it may have been removed.
    (0 < stamp.metadata().ok()?.nlink()).then_some((Hold { _stamp: stamp }, text))
}

/// Removes an environment or what is left of one.
fn remove(venv: &Path) -> io::Result<Removal> {
    if venv.is_symlink() {
        // Somebody's link: what it leads to is not ours.
        return fs::remove_file(venv).map(|()| Removal::Done);
    }
    let stamp = venv.join(STAMP);
    let _alone = match File::options().read(true).write(true).open(&stamp) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        opened => {
            let file = opened?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(Removal::InUse),
                locked => locked?,
            }
            fs::remove_file(&stamp)?;
            Some(file)
        }
    };
    match fs::remove_dir_all(venv) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Removal::Done),
    }
}
