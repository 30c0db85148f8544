//! `module:callable`, given or found.
//!
//! Finding reads the source files and looks for top-level names, as importing them is not for this crate to do.

use std::path::{Path, PathBuf};

use crate::{django, model::AppRef, problem::Problem, source};

const FILES: [&str; 4] = ["app.py", "wsgi.py", "asgi.py", "main.py"];

/// Reads `module`, `module:callable` or `path/to/file.py[:callable]`; the place is for the caller to say.
pub(crate) fn parse(text: &str) -> Result<AppRef, (String, Option<String>)> {
    let hint = || Some("write it as module:callable, for example app:app or shop.wsgi:application".to_owned());
    let (module, callable) = text.split_once(':').unwrap_or((text, ""));
    let module = match module.strip_suffix(".py") {
        Some(path) => path.trim_start_matches("./").replace('/', "."),
        None => module.to_owned(),
    };
    let is_name =
        |name: &str| crate::env_file::is_name(name) || (!name.is_ascii() && !name.contains(char::is_whitespace));
    if !module.split('.').all(is_name) {
        return Err((format!("{text:?} does not name a module"), hint()));
    }
    let callable = if callable.is_empty() { "app" } else { callable };
    let name = callable.strip_suffix("()").unwrap_or(callable);
    if !name.split('.').all(is_name) {
        let hint = if name.contains('(') {
            Some("a factory is called without arguments: module:create_app()".to_owned())
        } else {
            hint()
        };
        return Err((format!("{callable:?} in {text:?} is not the name of a callable"), hint));
    }
    Ok(AppRef { module, callable: callable.to_owned(), found_in: None, place: String::new() })
}

/// Looks for an application in the project.
pub(crate) fn find(project: &Path) -> Result<AppRef, Box<Problem>> {
    let (mut looked, mut notes) = (Vec::new(), Vec::new());
    for file in FILES {
        let path = project.join(file);
        match source::python_source(&path) {
            Ok(Some(text)) => match callable_in(&text) {
                Some(callable) => {
                    return Ok(found(file.trim_end_matches(".py").to_owned(), callable, file, path));
                }
                None => looked.push(file),
            },
            Ok(None) => {}
            Err(why) => notes.push(why),
        }
    }
    match django::find(project) {
        Ok(Some((module, callable))) => return Ok(found(module, &callable, "manage.py", project.join("manage.py"))),
        Ok(None) => {}
        Err(why) => notes.push(why),
    }
    if !looked.is_empty() {
        notes.push(format!("{} has no app, application or create_app() at its top level", looked.join(", ")));
    }
    if notes.is_empty() {
        notes.push("there is no app.py, wsgi.py, asgi.py, main.py or manage.py".to_owned());
    }
    let what = format!("no application found in {}", project.display());
    let hint = "name it: `tierce up module:callable`, or app = \"module:callable\" in tierce.toml";
    Err(Box::new(Problem::new(what).note(notes.join("\n  ")).hint(hint)))
}

fn found(module: String, callable: &str, file: &str, path: PathBuf) -> AppRef {
    AppRef { module, callable: callable.to_owned(), found_in: Some(path), place: format!("found in {file}") }
}

fn callable_in(source: &str) -> Option<&'static str> {
    let defines = |name: &str| source.lines().any(|line| is_definition(line, name));
    [("app", "app"), ("application", "application"), ("create_app", "create_app()")]
        .into_iter()
        .find(|(name, _)| defines(name))
        .map(|(_, callable)| callable)
}

/// `NAME = …`, `NAME: … = …`, `def NAME(`, `class NAME`, or an import that binds it; at the top level.
fn is_definition(line: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    if let Some(rest) = line.strip_prefix(name)
        && ends(rest)
    {
        let rest = rest.trim_start();
        return (rest.starts_with('=') && !rest.starts_with("==")) || rest.starts_with(':');
    }
    for keyword in ["def ", "async def ", "class "] {
        if line.strip_prefix(keyword).and_then(|rest| rest.strip_prefix(name)).is_some_and(ends) {
            return true;
        }
    }
    if let Some((_, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
        let bound = |part: &str| part.rsplit(" as ").next().unwrap_or(part).trim() == name;
        return names.trim_matches(|c| c == '(' || c == ')').split(',').map(str::trim).any(bound);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for (text, expected) in [
            ("main:app", "main:app"),
            ("shop.wsgi:application", "shop.wsgi:application"),
            ("main", "main:app"),
            ("./src/main.py:make.app", "src.main:make.app"),
            ("main:create_app()", "main:create_app()"),
        ] {
            assert_eq!(parse(text).map(|app| app.to_string()).as_deref(), Ok(expected));
        }
        for text in ["", ":app", "a-b:app", "main:app:x", "main:1", "main:create_app(1)", "a..b:app"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn applications_are_found_by_their_definition() {
        for (source, expected) in [
            ("app = Flask(__name__)\n", Some("app")),
            ("app: Flask = Flask(__name__)\n", Some("app")),
            ("x = 1\ndef application(environ, start_response):\n", Some("application")),
            ("def create_app():\n    app = Flask(__name__)\n", Some("create_app()")),
            ("from shop import application as app\n", Some("app")),
            ("from shop import (a, app)\n", Some("app")),
            ("apple = 1\nif app == 1:\n    app = 2\n", None),
            ("app.run()\n", None),
        ] {
            assert_eq!(callable_in(source), expected, "{source}");
        }
    }
}
