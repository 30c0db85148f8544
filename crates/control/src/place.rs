//! The state directory and its lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use config::Environment;
use rustix::fs::{FlockOperation, flock};

/// Where a project's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
}

/// Held as long as Tierce runs in a project.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Tierce cannot run here.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It does already.
    #[error("tierce is running here already{}", pid.map_or_else(String::new, |pid| format!(" (process {pid})")))]
    Running {
        /// Its process, if it has said so.
        pid: Option<u32>,
    },
    /// The directory cannot be used.
    #[error("cannot use {directory}: {error}", directory = directory.display())]
    Unusable {
        /// Which.
        directory: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Place {
    /// `.tierce` in the project; where that cannot be made, a directory of the system for this project.
    pub fn of(project: &Path, environment: &Environment) -> Self {
        let own = project.join(".tierce");
        let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        if writable(&own) || (!own.exists() && writable(project)) {
            return Self { directory: own };
        }
        // RUNTIME_DIRECTORY is this service's alone (systemd.exec(5)); XDG_RUNTIME_DIR is shared by a user's programs.
        if let Some(directory) = environment.value("RUNTIME_DIRECTORY") {
            return Self { directory: PathBuf::from(directory) };
        }
        match environment.value("XDG_RUNTIME_DIR") {
            Some(shared) => {
                let name = project.to_string_lossy().replace('/', "-");
                Self { directory: Path::new(shared).join(format!("tierce{name}")) }
            }
            None => Self { directory: own },
        }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The directory of the log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Makes the directory, for this user only and unseen by git.
    pub fn prepare(&self) -> Result<(), LockError> {
        let prepare = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700))?;
            let ignore = self.directory.join(".gitignore");
            if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
        };
        prepare().map_err(|error| self.unusable(error))
    }

    /// Takes the lock, or says who has it. The kernel gives it back when the process ends in any way.
    pub fn lock(&self) -> Result<RunLock, LockError> {
        self.prepare()?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
        let mut file = options.open(self.directory.join("lock")).map_err(|error| self.unusable(error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            // Who it is only makes the message better.
            let _ = file.read_to_string(&mut text);
            return Err(LockError::Running { pid: text.trim().parse().ok() });
        }
        let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        note.map_err(|error| self.unusable(error))?;
        Ok(RunLock { _file: file })
    }

    /// Returns when nobody has the lock.
    pub fn wait_until_free(&self) {
        if let Ok(file) = File::open(self.directory.join("lock")) {
            // A lock that cannot be had for another reason is no reason to wait.
            let _ = flock(&file, FlockOperation::LockShared);
        }
    }

    fn unusable(&self, error: io::Error) -> LockError {
        LockError::Unusable { directory: self.directory.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        let lock = place.lock().unwrap();
        let pid = std::process::id();
        assert!(matches!(place.lock(), Err(LockError::Running { pid: Some(found) }) if found == pid));
        assert_eq!(fs::metadata(place.directory()).unwrap().permissions().mode() & 0o777, 0o700);
        drop(lock);
        assert!(place.lock().is_ok());
    }
}
