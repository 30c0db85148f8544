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
    packages: Vec<String>,
    hash: u64,
}

impl Requirements {
    /// What the project names; `None` if it names nothing.
    pub(crate) fn of(project: &Path) -> Result<Option<Self>, PrepareError> {
        if let Some(text) = read(project, Path::new("requirements.txt"))? {
            let arguments = vec!["-r".to_owned(), "requirements.txt".to_owned()];
            let (hash, packages) = with_included(project, text);
            return Ok(Some(Self { file: "requirements.txt", arguments, packages, hash }));
        }
        let file = "pyproject.toml";
        let Some(text) = read(project, Path::new(file))? else { return Ok(None) };
        let text = String::from_utf8(text).map_err(|error| unreadable(file, error.to_string()))?;
        let Some(mut arguments) = dependencies(&text).map_err(|cause| unreadable(file, cause))? else {
            return Ok(None);
        };
        let hash = fnv_1a(FNV_START, arguments.join("\n").as_bytes());
        let packages = arguments.iter().filter_map(|line| package(line)).collect();
        if !arguments.is_empty() {
            // What stands behind it is never an option.
            arguments.insert(0, "--".to_owned());
        }
        Ok(Some(Self { file, arguments, packages, hash }))
    }

    /// Where they stand.
    pub(crate) fn file(&self) -> &'static str {
        self.file
    }

    /// What an installer is given for them; nothing if there is nothing to install.
    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The packages that are wanted wherever this is; those that have no name here, or a condition, are not among them.
    pub(crate) fn packages(&self) -> &[String] {
        &self.packages
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

/// What the lines of a file of requirements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Wanted,
    /// They only say which version is to be taken of what is wanted.
    Constraints,
}

/// Hashes the requirements with the files that they include, as a change in one of those is a change too; and names the
/// packages.
fn with_included(project: &Path, text: Vec<u8>) -> (u64, Vec<String>) {
    let mut seen = vec![PathBuf::from("requirements.txt")];
    let mut waiting = vec![(PathBuf::new(), Lines::Wanted, text)];
    let (mut hash, mut packages) = (FNV_START, Vec::new());
    while let Some((directory, lines, text)) = waiting.pop() {
        hash = fnv_1a(hash, &text);
        let text = String::from_utf8_lossy(&text);
        if lines == Lines::Wanted {
            packages.extend(text.lines().filter_map(package));
        }
        for (what, name) in text.lines().filter_map(included) {
            let path = directory.join(name);
            if seen.contains(&path) || seen.len() == INCLUDED_MAX {
                continue;
            }
            // What cannot be read is for the installer to complain of.
            if let Ok(Some(text)) = read(project, &path) {
                let what = if lines == Lines::Constraints { lines } else { what };
                waiting.push((path.parent().map(Path::to_owned).unwrap_or_default(), what, text));
            }
            seen.push(path);
        }
    }
    (hash, packages)
}

/// The file that a line of requirements includes.
fn included(line: &str) -> Option<(Lines, &str)> {
    const OPTIONS: [(&str, Lines); 4] = [
        ("--requirement", Lines::Wanted),
        ("--constraint", Lines::Constraints),
        ("-r", Lines::Wanted),
        ("-c", Lines::Constraints),
    ];
    let line = line.trim();
    let (what, rest) = OPTIONS.iter().find_map(|(option, what)| Some((*what, line.strip_prefix(option)?)))?;
    let name = without_comment(rest.trim_start_matches([' ', '\t', '=']));
    (!name.is_empty()).then_some((what, name))
}

/// The name of the package that a requirement names: not of a path or an address, which have none here, and not of one
/// with a condition (`; python_version < "3.11"`), which may not be meant.
fn package(line: &str) -> Option<String> {
    let line = without_comment(line.trim());
    let name_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let (name, rest) = line.split_at(line.find(|c| !name_part(c)).unwrap_or(line.len()));
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && !Path::new(name).extension().is_some_and(|end| end == "whl" || end == "zip" || end == "gz");
    let ends = rest.is_empty() || rest.starts_with(['[', '<', '>', '=', '!', '~', '(', '@', ' ', '\t', '\\']);
    (is_name && ends && !rest.contains(';')).then(|| name.to_owned())
}

fn without_comment(text: &str) -> &str {
    text.find(" #").map_or(text, |comment| &text[..comment]).trim()
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
