//! Which project, which file.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{
    problem::{Problem, Problems},
    read::speaks_of_us,
};

/// Environment variables, as they were when Tierce was started.
#[derive(Clone, Debug, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// A variable that is set and not empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Where to look for the project.
#[derive(Clone, Debug)]
pub struct Locate {
    /// `-C`.
    pub directory: Option<PathBuf>,
    /// `-c`.
    pub file: Option<PathBuf>,
    /// The current directory.
    pub current: PathBuf,
    /// Cores that this process may use: the default of `workers` and `cores`.
    pub cores: u32,
}

/// Which command it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// An application, or upstreams where there are some.
    #[default]
    All,
    /// `tierce edge`: upstreams only, and everybody may come.
    Edge,
    /// `tierce node`: an application, in one node, and everybody may come.
    Node,
}

/// What was given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `APP`
    pub app: Option<String>,
    /// `--workers`
    pub workers: Option<String>,
    /// `--threads`
    pub threads: Option<String>,
    /// `--bind`, each of them
    pub bind: Vec<String>,
    /// `--timeout`; a bare number is seconds, as with gunicorn
    pub timeout: Option<String>,
    /// `--python`
    pub python: Option<String>,
    /// `--access-log`
    pub access_log: Option<String>,
    /// `--upstream`, each of them
    pub upstream: Vec<String>,
    /// `--discover`
    pub discover: Option<String>,
    /// `--cores`
    pub cores: Option<String>,
    /// Not a key: the command.
    pub role: Role,
    /// The name of the only node, for [`Role::Node`].
    pub node: Option<String>,
}

/// A project and the text of its configuration.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) project: PathBuf,
    pub(crate) file: Option<PathBuf>,
    pub(crate) text: String,
    pub(crate) table: Table,
}

/// Which table of the document is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// All of it: tierce.toml.
    Root,
    /// `[tool.tierce]` of pyproject.toml.
    ToolTierce,
}

/// Project: `-C`, else the directory of `-c FILE`, else of the file found walking up, else the current one.
pub(crate) fn find(locate: &Locate) -> Result<Source, Problems> {
    let directory = locate.directory.as_ref().map(|directory| locate.current.join(directory));
    if let Some(directory) = &directory
        && !directory.is_dir()
    {
        return Err(one(Problem::new(format!("{} is not a directory", directory.display()))
            .hint("-C takes the project's directory")));
    }
    let base = directory.clone().unwrap_or_else(|| locate.current.clone());
    if let Some(file) = &locate.file {
        let file = clean(&base.join(file));
        let table = if is_pyproject(&file) { Table::ToolTierce } else { Table::Root };
        let text = read(&file, "-c takes the path of a configuration file, which is UTF-8")?;
        let project = directory.or_else(|| file.parent().map(Path::to_owned)).unwrap_or(base);
        return Ok(Source { project: clean(&project), file: Some(file), text, table });
    }
    let ancestors: Vec<_> = if directory.is_some() { vec![base.as_path()] } else { base.ancestors().collect() };
    for candidate in ancestors {
        let own = candidate.join("tierce.toml");
        if own.is_file() {
            let text = read(&own, FOUND)?;
            return Ok(Source { project: clean(candidate), file: Some(own), text, table: Table::Root });
        }
        let shared = candidate.join("pyproject.toml");
        if shared.is_file() {
            let text = read(&shared, FOUND)?;
            // A pyproject.toml that does not speak of us ends nothing: a parent directory may.
            if speaks_of_us(&text) {
                return Ok(Source { project: clean(candidate), file: Some(shared), text, table: Table::ToolTierce });
            }
        }
    }
    Ok(Source { project: clean(&base), file: None, text: String::new(), table: Table::Root })
}

fn is_pyproject(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "pyproject.toml")
}

/// What to do about a file that was found.
const FOUND: &str = "it belongs to the project: make it readable, and UTF-8; or name another one with -c";

fn read(file: &Path, hint: &str) -> Result<String, Problems> {
    text(file).map_err(|what| one(Problem::new(what).hint(hint)))
}

/// The text of a file, or why it cannot be had.
pub(crate) fn text(file: &Path) -> Result<String, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("cannot read {}: {why}", file.display());
    let bytes = bytes(file).map_err(|error| cannot(&error))?;
    String::from_utf8(bytes).map_err(|error| cannot(&format!("it is not UTF-8 ({})", error.utf8_error())))
}

/// What can be seen of a module of Python, whose source may be in another encoding; `None` if there is none.
pub(crate) fn python_source(file: &Path) -> Result<Option<String>, String> {
    match bytes(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    /// A file that people write and that is longer than this is a mistake.
    const MAX: u64 = 4 << 20;
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX + 1).read_to_end(&mut bytes)?;
    if MAX < bytes.len() as u64 {
        return Err(io::Error::other("it is longer than 4 MiB"));
    }
    Ok(bytes)
}

/// An absolute path without `.` and `..` where they can be removed without asking the file system.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir if cleaned.file_name().is_some() => {
                cleaned.pop();
            }
            part => cleaned.push(part),
        }
    }
    cleaned
}

fn one(problem: Problem) -> Problems {
    Problems(vec![problem])
}
