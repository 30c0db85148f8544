//! The state of a node in a container, whose root file system may be read-only, and whose project may be shared with others.
//!
//! Invariant: nothing is kept in the project, which containers beside each other may have mounted; and nothing in a directory
//! that another user has made, as everybody may write where it stands.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use config::Environment;

use crate::{
    Place,
    place::{fingerprint, shared_directory},
};

/// Where it can be, the best first. Docker and Kubernetes make the last for every container, writable in each case.
const ROOTS: [&str; 3] = ["/run", "/tmp", "/dev/shm"];

/// There is no place for a node's state.
#[derive(Debug, thiserror::Error)]
#[error("no directory for the control socket can be made: {}", tried.join("; "))]
pub struct NoPlace {
    tried: Vec<String>,
}

impl Place {
    /// The place of a node, made: where its variables say, else the first that can be.
    ///
    /// # Errors
    ///
    /// What is wrong with each of them.
    pub fn of_node(project: &Path, environment: &Environment) -> Result<Self, NoPlace> {
        Self::of_node_in(project, environment, &ROOTS.map(Path::new))
    }

    fn of_node_in(project: &Path, environment: &Environment, roots: &[&Path]) -> Result<Self, NoPlace> {
        let mut tried = Vec::new();
        for directory in places(project, environment, roots) {
            match make(&directory) {
                Ok(()) => return Ok(Self::at(project, directory)),
                Err(error) => tried.push(format!("{}: {error}", directory.display())),
            }
        }
        Err(NoPlace { tried })
    }

    /// Where a node of this project may be.
    pub(crate) fn of_nodes(project: &Path, environment: &Environment) -> Vec<Self> {
        let places = places(project, environment, &ROOTS.map(Path::new));
        places.into_iter().filter(|place| is_private(place).is_ok()).map(|place| Self::at(project, place)).collect()
    }
}

fn places(project: &Path, environment: &Environment, roots: &[&Path]) -> Vec<PathBuf> {
    let runtime = environment.value("XDG_RUNTIME_DIR").map(|shared| shared_directory(shared, project));
    // Several containers may share one of these, as a volume.
    let system = rustix::system::uname();
    let host = OsStr::from_bytes(system.nodename().to_bytes());
    let name = format!("tierce-{:016x}-{:016x}", fingerprint(project), fingerprint(Path::new(host)));
    runtime.into_iter().chain(roots.iter().map(|root| root.join(&name))).collect()
}

fn make(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => is_private(directory)?,
        made => made?,
    }
    // One of an image, or of a container that is started again, may be on a file system that cannot be written now.
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).map_err(Into::into)
}

/// Whether it is a directory, and this user's.
fn is_private(directory: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() {
        return Err(io::Error::other("it is no directory"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is another user's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn of(project: &Path, roots: &[&Path]) -> Result<PathBuf, NoPlace> {
        Place::of_node_in(project, &Environment::default(), roots).map(|place| place.directory().to_owned())
    }

    #[test]
    fn a_node_takes_the_first_directory_that_can_be_made() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (project, nowhere) = (Path::new("/app"), Path::new("/proc"));
        let place = of(project, &[nowhere, one.path(), other.path()]).unwrap();
        assert!(place.starts_with(one.path()), "{}", place.display());
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(of(project, &[one.path()]).unwrap(), place, "it is started again");
        assert_ne!(of(Path::new("/blog"), &[one.path()]).unwrap(), place);
        let told = of(project, &[nowhere]).unwrap_err().to_string();
        assert!(told.contains("/proc/tierce-"), "{told}");
    }

    #[test]
    fn a_directory_that_another_has_put_there_is_not_taken() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let project = Path::new("/app");
        let place = of(project, &[one.path()]).unwrap();
        fs::remove_dir_all(&place).unwrap();
        symlink(other.path(), &place).unwrap();
        assert!(of(project, &[one.path(), other.path()]).unwrap().starts_with(other.path()), "a link leads elsewhere");
        fs::remove_file(&place).unwrap();
        fs::write(&place, "").unwrap();
        assert!(of(project, &[one.path()]).is_err(), "a file");
    }

    #[test]
    fn what_the_environment_says_comes_first() {
        let runtime = tempfile::tempdir().unwrap();
        let text = runtime.path().to_str().unwrap().to_owned();
        let environment = Environment([("XDG_RUNTIME_DIR".to_owned(), text)].into());
        let place = Place::of_node(Path::new("/app"), &environment).unwrap();
        assert!(place.directory().starts_with(runtime.path()));
        let known = Place::of_nodes(Path::new("/app"), &environment);
        assert_eq!(known.first(), Some(&place));
    }
}
