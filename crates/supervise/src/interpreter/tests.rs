use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

/// A fake interpreter that answers the probe.
fn fake(directory: &Path, answer: &str) {
    fs::create_dir_all(directory.join("bin")).unwrap();
    let path = directory.join("bin/python");
    fs::write(&path, format!("#!/bin/sh\necho {answer}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn config(project: &Path, python: Option<&str>) -> Config {
    fs::write(project.join("app.py"), "app = None\n").unwrap();
    let locate =
        config::Locate { directory: Some(project.to_owned()), file: None, current: project.to_owned(), cores: 1 };
    let flags = config::Overrides { python: python.map(ToOwned::to_owned), ..Default::default() };
    config::load(&locate, &Environment::default(), &flags).unwrap()
}

fn find(config: &Config, virtual_env: Option<&Path>) -> (Result<Interpreter, PrepareError>, Vec<Step>) {
    let mut environment = Environment::default();
    if let Some(path) = virtual_env {
        environment.0.insert("VIRTUAL_ENV".to_owned(), path.to_str().unwrap().to_owned());
    }
    let mut steps = Vec::new();
    let found = find_or_make(config, &environment, &mut |step| steps.push(step));
    (found, steps)
}

#[test]
fn the_first_that_fits_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (project, other) = (directory.path().join("p"), directory.path().join("v"));
    fs::create_dir(&project).unwrap();
    fake(&project.join(".venv"), "3.12.1 cpython glibc 0");
    fake(&other, "3.11.0 cpython glibc 0");
    let config = config(&project, None);
    let (found, _) = find(&config, Some(&other));
    assert_eq!((found.as_ref().unwrap().origin, found.unwrap().version.as_str()), (Origin::VirtualEnv, "3.11.0"));
    for (answer, why) in [
        ("3.9.0 cpython glibc 0", "oldest"),
        ("3.11.0 pypy glibc 0", "pypy"),
        ("3.11.0 cpython - 0", "glibc"),
        ("3.14.0 cpython glibc 1", "free-threaded"),
        ("", "did not run"),
    ] {
        fake(&other, answer);
        let (found, steps) = find(&config, Some(&other));
        assert_eq!(found.unwrap().origin, Origin::DotVenv, "{answer}");
        assert!(matches!(&steps[..], [Step::Note { what }] if what.contains(why)), "{answer}: {steps:?}");
    }
}

#[test]
fn what_was_configured_is_taken_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    fake(&directory.path().join(".venv"), "3.12.1 cpython glibc 0");
    fake(&directory.path().join("old"), "3.8.1 cpython glibc 0");
    let (found, _) = find(&config(directory.path(), Some("./.venv/bin/python")), None);
    assert_eq!(found.unwrap().origin, Origin::Configured);
    for path in ["./old/bin/python", "./none/bin/python"] {
        let (found, _) = find(&config(directory.path(), Some(path)), None);
        assert!(found.unwrap_err().0.hint.is_some(), "{path}");
    }
}
