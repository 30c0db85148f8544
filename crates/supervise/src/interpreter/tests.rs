use std::{fs, os::unix::fs::PermissionsExt};

use super::*;
use crate::probe::tests::script;

/// A fake interpreter that answers the probe.
fn fake(directory: &Path, answer: &str) {
    script(&directory.join("bin/python"), &format!("echo {answer}"));
}

fn config(project: &Path, python: Option<&str>) -> Config {
    fs::write(project.join("app.py"), "app = None\n").unwrap();
    let locate =
        config::Locate { directory: Some(project.to_owned()), file: None, current: project.to_owned(), cores: 1 };
    let flags = config::Overrides { python: python.map(ToOwned::to_owned), ..Default::default() };
    config::load(&locate, &Environment::default(), &flags).unwrap()
}

fn environment(variables: &[(&str, &Path)]) -> Environment {
    let pair = |(name, value): &(&str, &Path)| ((*name).to_owned(), value.to_str().unwrap().to_owned());
    Environment(variables.iter().map(pair).collect())
}

fn find(config: &Config, environment: &Environment) -> (Result<Interpreter, PrepareError>, Vec<Step>) {
    let mut steps = Vec::new();
    let found = find_or_make(config, environment, &mut |step| steps.push(step));
    (found, steps)
}

fn assert_passed_over(steps: &[Step], why: &str) {
    assert!(matches!(steps, [Step::Note { what }] if what.contains(why)), "{why}: {steps:?}");
}

#[test]
fn the_first_that_fits_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let (project, other) = (directory.path().join("p"), directory.path().join("v"));
    fs::create_dir(&project).unwrap();
    // It names requirements, but no environment is made when there is one that has them.
    fs::write(project.join("requirements.txt"), "x\n").unwrap();
    fake(&project.join(".venv"), "3.12.1 cpython glibc 0");
    fake(&other, "3.11.0 cpython glibc 0");
    let config = config(&project, None);
    let environment = environment(&[("VIRTUAL_ENV", &other)]);
    let (found, steps) = find(&config, &environment);
    assert_eq!((found.as_ref().unwrap().origin, found.unwrap().version.as_str()), (Origin::VirtualEnv, "3.11.0"));
    assert_eq!(steps, []);
    fake(&other, "3.9.0 cpython glibc 0");
    let (found, steps) = find(&config, &environment);
    assert_eq!(found.unwrap().origin, Origin::DotVenv);
    assert_passed_over(&steps, "oldest");
    fs::remove_dir_all(&other).unwrap();
    let (found, steps) = find(&config, &environment);
    assert_eq!(found.unwrap().origin, Origin::DotVenv);
    assert_passed_over(&steps, "No such file");
}

#[test]
fn an_environment_without_the_packages_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let (project, other) = (directory.path().join("p"), directory.path().join("v"));
    fs::create_dir(&project).unwrap();
    // What stands behind `-c PROGRAM` is what is asked for.
    let answer = "echo 3.12.1 cpython glibc 0 $(shift 3; for name; do [ $name = present ] || echo $name; done)";
    for venv in [project.join(".venv"), other.clone()] {
        script(&venv.join("bin/python"), answer);
    }
    let config = config(&project, None);
    let environment = environment(&[("VIRTUAL_ENV", &other), ("PATH", &project)]);
    fs::write(project.join("requirements.txt"), "present>=1\n").unwrap();
    assert_eq!(find(&config, &environment).0.unwrap().origin, Origin::VirtualEnv);
    fs::write(project.join("requirements.txt"), "present\nabsent\n").unwrap();
    let (found, steps) = find(&config, &environment);
    assert!(found.unwrap_err().0.cause.unwrap().contains("no python3"), "one is to be made");
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert_passed_over(&[step], "it lacks absent, which requirements.txt names");
    }
    let mut configured = config;
    configured.python = Some(other.join("bin/python"));
    assert_eq!(find(&configured, &environment).0.unwrap().origin, Origin::Configured, "it is taken as it is");
}

#[test]
fn the_path_is_the_last_resort() {
    let directory = tempfile::tempdir().unwrap();
    let (project, bin) = (directory.path().join("p"), directory.path().join("bin"));
    fs::create_dir(&project).unwrap();
    let config = config(&project, None);
    let environment = environment(&[("PATH", &bin)]);
    let (found, _) = find(&config, &environment);
    assert!(found.unwrap_err().0.cause.unwrap().contains("no python3"));
    script(&bin.join("python3"), "echo 3.9.2 cpython glibc 0");
    let (found, _) = find(&config, &environment);
    assert!(found.unwrap_err().0.cause.unwrap().contains("3.9.2"));
    for (name, version) in [("python3.10", "3.10.4"), ("python3.12", "3.12.4"), ("python3", "3.11.4")] {
        script(&bin.join(name), &format!("echo {version} cpython glibc 0"));
        let (found, steps) = find(&config, &environment);
        let found = found.unwrap();
        assert_eq!((found.path, found.version.as_str(), found.origin), (bin.join(name), version, Origin::System));
        assert_eq!(steps, []);
    }
    // A link that leads nowhere is passed over aloud.
    std::os::unix::fs::symlink("/no/such/environment", project.join(".venv")).unwrap();
    let (found, steps) = find(&config, &environment);
    assert_eq!(found.unwrap().origin, Origin::System);
    assert_passed_over(&steps, ".venv");
}

#[test]
fn one_that_was_made_is_kept_when_the_requirements_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (project, bin) = (directory.path().join("p"), directory.path().join("bin"));
    script(&bin.join("python3"), "echo 3.11.4 cpython glibc 0");
    let made = project.join(venv::PLACE);
    fake(&made, "3.12.1 cpython glibc 0");
    let config = config(&project, None);
    let environment = environment(&[("PATH", &bin)]);
    assert_eq!(find(&config, &environment).0.unwrap().origin, Origin::System, "it was not finished");
    fs::write(made.join("tierce-stamp"), "anything").unwrap();
    assert_eq!(find(&config, &environment).0.unwrap().origin, Origin::TierceVenv);

    // Another user who is to run it comes through to it, and sees nothing else.
    let mode = || fs::metadata(project.join(".tierce")).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(project.join(".tierce"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(find(&config, &environment).0.is_ok() && mode() == 0o700);
    let config = Config { user: Some("shop".to_owned()), ..config };
    assert!(find(&config, &environment).0.is_ok() && mode() == 0o711);
}

#[test]
fn nothing_to_build_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    script(&bin.join("python3"), "echo 3.11.4 cpython glibc 0");
    let mut steps = Vec::new();
    let found = build(directory.path(), &environment(&[("PATH", &bin)]), &mut |step| steps.push(step));
    assert_eq!(found.unwrap().origin, Origin::System);
    assert_passed_over(&steps, "nothing to build");
}

#[test]
fn what_was_configured_is_taken_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    fake(&directory.path().join(".venv"), "3.12.1 cpython glibc 0");
    fake(&directory.path().join("old"), "3.8.1 cpython glibc 0");
    let none = Environment::default();
    let (found, _) = find(&config(directory.path(), Some("./.venv/bin/python")), &none);
    assert_eq!(found.unwrap().origin, Origin::Configured);
    for path in ["./old/bin/python", "./none/bin/python"] {
        let (found, _) = find(&config(directory.path(), Some(path)), &none);
        assert!(found.unwrap_err().0.hint.is_some(), "{path}");
    }
}
