//! What a project wants to be installed: requirements.txt, else the dependencies of pyproject.toml.
//!
//! Invariant: equal stamps mean that an installer would be asked for the same. What the words mean is left to the
//! installer.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use crate::{explanation::Explanation, interpreter::PrepareError};

/// A list of requirements longer than this is a mistake.
const FILE_MAX: u64 = 4 << 20;

/// Files that requirements.txt may include and that are watched for changes.
const INCLUDED_MAX: usize = 64;

/// What the project wants to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requirements {
    file: &'static str,
    arguments: Vec<String>,
    hash: u64,
}

impl Requirements {
    /// What the project names; `None` if it names nothing.
    pub(crate) fn of(project: &Path) -> Result<Option<Self>, PrepareError> {
        if let Some(text) = read(project, Path::new("requirements.txt"))? {
            let arguments = vec!["-r".to_owned(), "requirements.txt".to_owned()];
            let hash = with_included(project, text);
            return Ok(Some(Self { file: "requirements.txt", arguments, hash }));
        }
        let file = "pyproject.toml";
        let Some(text) = read(project, Path::new(file))? else { return Ok(None) };
        let text = String::from_utf8(text).map_err(|error| unreadable(file, error.to_string()))?;
        let Some(mut arguments) = dependencies(&text).map_err(|cause| unreadable(file, cause))? else {
            return Ok(None);
        };
        let hash = fnv_1a(FNV_START, arguments.join("\n").as_bytes());
        if !arguments.is_empty() {
            // What stands behind it is never an option.
            arguments.insert(0, "--".to_owned());
        }
        Ok(Some(Self { file, arguments, hash }))
    }

    /// Where they stand.
    pub(crate) fn file(&self) -> &'static str {
        self.file
    }

    /// What an installer is given for them; nothing if there is nothing to install.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// Identifies what an environment was made from.
    pub(crate) fn stamp(&self, python: &str) -> String {
        format!("{} {:016x} python {python}\n", self.file, self.hash)
    }
}

/// `[project] dependencies`, alone: nothing else in the file decides what is installed.
fn dependencies(text: &str) -> Result<Option<Vec<String>>, String> {
    let document = toml_edit::Document::parse(text).map_err(|error| error.to_string())?;
    let Some(found) = document.get("project").and_then(|project| project.get("dependencies")) else {
        return Ok(None);
    };
    let list = found.as_array().map(|list| list.iter().map(|value| value.as_str().map(ToOwned::to_owned)));
    match list.and_then(Iterator::collect) {
        Some(dependencies) => Ok(Some(dependencies)),
        None => Err("`dependencies` in [project] is not a list of strings".to_owned()),
    }
}

/// Hashes the requirements with the files that they include, as a change in one of those is a change too.
fn with_included(project: &Path, text: Vec<u8>) -> u64 {
    let mut seen = vec![PathBuf::from("requirements.txt")];
    let mut waiting = vec![(PathBuf::new(), text)];
    let mut hash = FNV_START;
    while let Some((directory, text)) = waiting.pop() {
        hash = fnv_1a(hash, &text);
        for name in String::from_utf8_lossy(&text).lines().filter_map(included) {
            let path = directory.join(name);
            if seen.contains(&path) || seen.len() == INCLUDED_MAX {
                continue;
            }
            // What cannot be read is for the installer to complain of.
            if let Ok(Some(text)) = read(project, &path) {
                waiting.push((path.parent().map(Path::to_owned).unwrap_or_default(), text));
            }
            seen.push(path);
        }
    }
    hash
}

/// The file that a line of requirements includes.
fn included(line: &str) -> Option<&str> {
    let line = line.trim();
    let rest = ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| line.strip_prefix(option))?;
    let name = rest.trim_start_matches([' ', '\t', '=']);
    let name = name.find(" #").map_or(name, |comment| &name[..comment]).trim();
    (!name.is_empty()).then_some(name)
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every machine and in every version, which the standard library's hasher is not.
fn fnv_1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The content of a file; `None` if there is none of this name.
fn read(project: &Path, name: &Path) -> Result<Option<Vec<u8>>, PrepareError> {
    let mut content = Vec::new();
    let opened = File::open(project.join(name));
    match opened.and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut content)) {
        Ok(length) if FILE_MAX < length as u64 => {
            Err(unreadable(&name.display().to_string(), "it is longer than 4 MiB".to_owned()).into())
        }
        Ok(_) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&name.display().to_string(), error.to_string()).into()),
    }
}

fn unreadable(file: &str, cause: String) -> Explanation {
    Explanation::new(format!("{file} cannot be read"))
        .during("looking for the project's requirements")
        .cause(cause)
        .hint(format!("correct {file}, or name an interpreter with --python"))
}

#[cfg(test)]
mod tests;
