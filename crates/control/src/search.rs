//! Where a Tierce of a project runs, when that is not where this command would start one.
//!
//! A service keeps its state in a directory that a shell has no variable for, and another user's state may be out of
//! reach. Invariant: a place whose Tierce lives comes before all others; one that may not be looked into before those
//! where certainly nothing is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use config::Environment;

use crate::{
    Place,
    place::{PROJECT_FILE, shared_directory},
};

/// Where the directories of services are (systemd.exec(5), `RuntimeDirectory=`).
const SERVICES: &str = "/run";

impl Place {
    /// Where this project's Tierce runs; where `up` would start one when there is none.
    pub fn find(project: &Path, environment: &Environment) -> Self {
        let usual = Self::of(project, environment);
        let mut candidates = vec![usual.clone(), Self::at(project, project.join(".tierce"))];
        if let Some(shared) = environment.value("XDG_RUNTIME_DIR") {
            candidates.push(Self::at(project, shared_directory(shared, project)));
        }
        let roots = [Some(SERVICES), environment.value("XDG_RUNTIME_DIR")];
        let services = roots.into_iter().flatten().flat_map(|root| services_of(project, Path::new(root)));
        candidates.extend(services.map(|directory| Self::at(project, directory)));
        candidates.extend(Self::of_nodes(project, environment));
        let states: Vec<_> = candidates.iter().map(Self::holder).collect();
        let denied =
            |state: &io::Result<_>| matches!(state, Err(error) if error.kind() == io::ErrorKind::PermissionDenied);
        let lives = states.iter().position(|state| matches!(state, Ok(Some(_))));
        match lives.or_else(|| states.iter().position(denied)) {
            Some(at) => candidates.swap_remove(at),
            None => usual,
        }
    }
}

/// The directories in `root` whose service says that it runs this project.
fn services_of(project: &Path, root: &Path) -> Vec<PathBuf> {
    let is_ours = |directory: &PathBuf| {
        let said = fs::read_to_string(directory.join(PROJECT_FILE));
        said.is_ok_and(|said| Path::new(said.trim_end_matches('\n')) == project)
    };
    // What cannot be listed holds nothing that could be found.
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_without_its_variables() {
        let runtime = tempfile::tempdir().unwrap();
        let environment =
            |name: &str, value: &Path| Environment([(name.to_owned(), value.to_str().unwrap().to_owned())].into());
        // Nobody may write in /proc, whoever this is.
        let (project, other) = (Path::new("/proc/shop"), Path::new("/proc/blog"));
        let service = Place::of(project, &environment("RUNTIME_DIRECTORY", &runtime.path().join("shop")));
        let shell = environment("XDG_RUNTIME_DIR", runtime.path());
        service.prepare().unwrap();
        assert_ne!(Place::find(project, &shell), service, "nothing runs there");
        let lock = service.lock().unwrap();
        assert_eq!(Place::find(project, &shell), service);
        assert_ne!(Place::find(other, &shell).directory(), service.directory(), "it is another project's");
        drop(lock);
        assert_ne!(Place::find(project, &shell), service);
    }
}
