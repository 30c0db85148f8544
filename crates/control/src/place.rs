//! The state directory and its lock.
//!
//! Invariant: two projects never share a directory of state, and one directory never serves two processes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

use config::Environment;
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

const SOCKET: &str = "control.sock";

const ADMIN_SOCKET: &str = "admin.sock";

/// Names the project, in a directory that is not in it.
pub(crate) const PROJECT_FILE: &str = "project";

/// Where a project's state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    project: PathBuf,
    directory: PathBuf,
}

/// Held as long as Tierce runs in a project.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// The control socket under a name that fits into a socket address, for as long as this lives.
///
/// A socket address has room for 107 bytes of path (unix(7)), and projects lie deeper than that.
#[derive(Debug)]
pub(crate) struct SocketName {
    path: PathBuf,
    _directory: OwnedFd,
}

impl SocketName {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
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
            return Self::at(project, own);
        }
        // RUNTIME_DIRECTORY is this service's alone, the first of a list (systemd.exec(5)); XDG_RUNTIME_DIR is shared by
        // a user's programs.
        let first = |list: &str| list.split(':').next().map(PathBuf::from);
        if let Some(directory) = environment.value("RUNTIME_DIRECTORY").and_then(first) {
            return Self::at(project, directory);
        }
        match environment.value("XDG_RUNTIME_DIR") {
            Some(shared) => Self::at(project, shared_directory(shared, project)),
            None => Self::at(project, own),
        }
    }

    /// The state of `project` in `directory`.
    pub(crate) fn at(project: &Path, directory: PathBuf) -> Self {
        Self { project: project.to_owned(), directory }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    /// The control socket's address, of any length.
    pub(crate) fn socket_name(&self) -> io::Result<SocketName> {
        self.short_name(SOCKET)
    }

    /// The same for the admin listener's, where that is beside it.
    pub(crate) fn admin_socket_name(&self) -> io::Result<SocketName> {
        self.short_name(ADMIN_SOCKET)
    }

    fn short_name(&self, file: &str) -> io::Result<SocketName> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(file);
        Ok(SocketName { path, _directory: directory })
    }

    /// Removes a control socket that nobody listens at. One of a process that has the lock is left alone: it may have
    /// come between the failed attempt and now.
    pub(crate) fn remove_dead_socket(&self) {
        let Ok(file) = File::open(self.lock_file()) else {
            // Never locked, so nobody can be there; that the socket is gone is all that matters.
            let _ = fs::remove_file(self.socket());
            return;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(self.socket());
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// The directory of the log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// A secret of this project: made when it is asked for first, the same ever after, and readable for its user only.
    ///
    /// # Errors
    ///
    /// What the system says when it can be neither read nor made.
    pub fn secret(&self) -> io::Result<[u8; 32]> {
        let path = self.directory.join("secret");
        match fs::read(&path).map(<[u8; 32]>::try_from) {
            Ok(Ok(secret)) => return Ok(secret),
            // One that was cut short is worth nothing.
            Ok(Err(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut secret = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        let next = self.directory.join("secret.new");
        let _ = fs::remove_file(&next);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&next)?.write_all(&secret)?;
        fs::rename(&next, &path)?;
        Ok(secret)
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.directory.join("state.json")
    }

    /// Makes the directory, for this user only and unseen by git. Others may have been let through to the environment in
    /// it; to look around was never theirs.
    pub fn prepare(&self) -> Result<(), LockError> {
        let prepare = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let through = fs::metadata(&self.directory)?.permissions().mode() & 0o011;
            fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700 | through))?;
            if !self.directory.starts_with(&self.project) {
                let name = [self.project.as_os_str().as_bytes(), b"\n"].concat();
                fs::write(self.directory.join(PROJECT_FILE), name)?;
            }
            let ignore = self.directory.join(".gitignore");
            if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
        };
        prepare().map_err(|error| self.unusable(error))
    }

    /// Takes the lock, or says who has it. The kernel gives it back when the process ends in any way.
    pub fn lock(&self) -> Result<RunLock, LockError> {
        self.prepare()?;
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).to_owned();
        let mut file = options.open(self.lock_file()).map_err(|error| self.unusable(error))?;
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

    /// The process that has the lock, if it can be seen from here.
    ///
    /// The lock itself is not tried: for as long as this had it, a Tierce that starts would be refused.
    pub(crate) fn holder(&self) -> io::Result<Option<u32>> {
        let none_if_absent = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            _ => Err(error),
        };
        let path = self.lock_file();
        let (text, lock) = match fs::read_to_string(&path).and_then(|text| Ok((text, path.metadata()?))) {
            Ok(found) => found,
            Err(error) => return none_if_absent(error),
        };
        // Which process it was is written there; that it still is, its open file says.
        let Ok(pid) = text.trim().parse::<u32>() else { return Ok(None) };
        let open = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(open) => open,
            Err(error) => return none_if_absent(error),
        };
        let is_lock = |entry: fs::DirEntry| {
            let file = fs::metadata(entry.path());
            file.is_ok_and(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
        };
        Ok(open.flatten().any(is_lock).then_some(pid))
    }

    /// Tells the process that has the lock to stop, as SIGTERM does. False: there is none any more.
    pub fn terminate(&self) -> io::Result<bool> {
        let Some(pid) = self.holder()?.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else {
            return Ok(false);
        };
        let told = pidfd_open(pid, PidfdFlags::empty()).and_then(|process| {
            // The number may have become another process's before it was opened, but not since.
            match self.holder() {
                Ok(Some(_)) => pidfd_send_signal(process, Signal::TERM).map(|()| true),
                _ => Ok(false),
            }
        });
        match told {
            Err(Errno::SRCH) => Ok(false),
            told => told.map_err(io::Error::from),
        }
    }

    /// Whether a Tierce runs here, as far as that can be seen.
    pub fn is_in_use(&self) -> bool {
        self.holder().is_ok_and(|holder| holder.is_some())
    }

    /// Returns when nobody has the lock.
    pub fn wait_until_free(&self) {
        if let Ok(file) = File::open(self.lock_file()) {
            // A lock that cannot be had for another reason is no reason to wait.
            let _ = flock(&file, FlockOperation::LockShared);
        }
    }

    fn unusable(&self, error: io::Error) -> LockError {
        LockError::Unusable { directory: self.directory.clone(), error }
    }
}

/// A project's directory among those of a user's programs.
pub(crate) fn shared_directory(shared: &str, project: &Path) -> PathBuf {
    Path::new(shared).join(format!("tierce-{:016x}", fingerprint(project)))
}

/// The same for the same project in every version of this program: FNV-1a, as it has to tell paths apart, not to resist
/// anybody. A path with other characters in the place of `/` would not do: `/a/b` and `/a-b` are two projects.
pub(crate) fn fingerprint(project: &Path) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    project.as_os_str().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn where_the_project_cannot_be_written_the_system_has_a_place() {
        // Nobody may write in /proc, whoever this is.
        let (one, other) = (Path::new("/proc/a/b"), Path::new("/proc/a-b"));
        let user = environment(&[("XDG_RUNTIME_DIR", "/run/user/7")]);
        assert!(Place::of(one, &user).directory().starts_with("/run/user/7"));
        assert_eq!(Place::of(one, &user), Place::of(one, &user));
        assert_ne!(Place::of(one, &user), Place::of(other, &user), "two projects, two places");
        for (value, directory) in [("/run/shop", "/run/shop"), ("/run/shop:/run/more", "/run/shop")] {
            let service = environment(&[("RUNTIME_DIRECTORY", value), ("XDG_RUNTIME_DIR", "/run/user/7")]);
            assert_eq!(Place::of(one, &service).directory(), Path::new(directory));
        }
        assert_eq!(Place::of(one, &environment(&[])).directory(), one.join(".tierce"), "whose making then fails");
    }

    #[test]
    fn a_project_that_can_be_written_keeps_its_own_state() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &environment(&[("RUNTIME_DIRECTORY", "/run/shop")]));
        assert_eq!(place.directory(), project.path().join(".tierce"));
        place.prepare().unwrap();
        assert_eq!(fs::read_to_string(place.directory().join(".gitignore")).unwrap(), "*\n");
        for (before, after) in [(0o755, 0o711), (0o711, 0o711), (0o700, 0o700)] {
            fs::set_permissions(place.directory(), fs::Permissions::from_mode(before)).unwrap();
            place.prepare().unwrap();
            assert_eq!(fs::metadata(place.directory()).unwrap().permissions().mode() & 0o777, after);
        }
    }

    #[test]
    fn a_secret_is_made_once_and_is_its_users_alone() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        place.prepare().unwrap();
        let secret = place.secret().unwrap();
        assert_eq!(place.secret().unwrap(), secret);
        let path = place.directory().join("secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "cut").unwrap();
        assert_ne!(place.secret().unwrap(), secret);
    }

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

    #[test]
    fn who_has_the_lock_is_seen_without_touching_it() {
        let project = tempfile::tempdir().unwrap();
        let place = Place::of(project.path(), &Environment::default());
        assert_eq!(place.holder().unwrap(), None, "never locked");
        let lock = place.lock().unwrap();
        assert_eq!(place.holder().unwrap(), Some(std::process::id()));
        drop(lock);
        assert_eq!(place.holder().unwrap(), None, "this process lives, but has it no more");
        fs::write(place.lock_file(), "1\n").unwrap();
        assert!(!matches!(place.holder(), Ok(Some(_))), "the first process has nothing to do with it");
        assert!(!place.terminate().unwrap_or(false));
    }
}
