//! The interpreter of a project: made when there is none, made again when the requirements have changed.
//!
//! Nothing is fetched: the only requirement is a package that lies in the project.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use testkit::{Project, python, wait_for, wait_within};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = "import os, sys, tiny\n\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
                   return [f'{tiny.VERSION} {sys.prefix}'.encode()]\n";

/// Nothing of a Tierce that has ended is there for longer.
const PROMISED: Duration = Duration::from_secs(5);

/// A package is an archive with some files in it; Python can write archives.
const MAKE_WHEEL: &str = r#"
import sys, zipfile
version = sys.argv[1]
with zipfile.ZipFile(f"tiny-{version}-py3-none-any.whl", "w") as wheel:
    info = f"tiny-{version}.dist-info"
    wheel.writestr("tiny.py", f"VERSION = '{version}'\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/RECORD", "")
"#;

/// A project that requires `tiny` and names no interpreter.
fn project() -> Project {
    let project = Project::new(TIERCE, APP, "");
    project.write("tierce.toml", &format!("app = 'app:app'\nworkers = 1\nlisten = [\"127.0.0.1:{}\"]\n", project.port));
    requires(&project, "1.0");
    project
}

fn requires(project: &Project, version: &str) {
    let made = Command::new(python()).args(["-c", MAKE_WHEEL, version]).current_dir(project.path()).status().unwrap();
    assert!(made.success());
    project.write("requirements.txt", &format!("./tiny-{version}-py3-none-any.whl\n"));
}

fn prefix(project: &Project) -> String {
    let path = project.path().join(".tierce/venv").canonicalize().unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn up_makes_it_once_and_again_when_the_requirements_change() {
    let project = project();
    {
        let running = project.up(&[]);
        let text = running.client().get("/").unwrap().text();
        assert_eq!(text, format!("1.0 {}", prefix(&project)));
    }
    let made = std::fs::metadata(project.path().join(".tierce/venv/pyvenv.cfg")).unwrap().modified().unwrap();
    drop(project.up(&[]));
    let now = std::fs::metadata(project.path().join(".tierce/venv/pyvenv.cfg")).unwrap().modified().unwrap();
    assert_eq!(made, now, "it is there already");
    requires(&project, "2.0");
    let running = project.up(&[]);
    assert!(running.client().get("/").unwrap().text().starts_with("2.0 "), "the new requirement is met");
}

#[test]
fn build_makes_it_and_serves_nothing() {
    let project = project();
    // As in the layer of an image that holds the requirements only.
    std::fs::remove_file(project.path().join("app.py")).unwrap();
    let config = std::fs::read(project.path().join("tierce.toml")).unwrap();
    std::fs::remove_file(project.path().join("tierce.toml")).unwrap();
    project.ok(&["build"]);
    project.write("app.py", APP);
    std::fs::write(project.path().join("tierce.toml"), config).unwrap();
    assert!(project.path().join(".tierce/venv/bin/python").exists());
    assert_eq!(project.run(&["ps"]).code, 69);
    project.ok(&["check"]);
}

#[test]
fn what_runs_keeps_its_packages_whatever_is_built() {
    let project = project();
    let lazy = "def app(environ, start_response):\n    import tiny\n    start_response('200 OK', [])\n    \
                return [tiny.VERSION.encode()]\n";
    project.write("app.py", lazy);
    let running = project.up(&[]);
    project.write("app.py", "raise ValueError\n");
    project.write("requirements.txt", "./tiny-1.0-py3-none-any.whl # changed\n");
    assert_eq!(project.run(&["reload"]).code, 78);
    project.ok(&["build"]);
    assert_eq!(running.client().get("/").unwrap().text(), "1.0");
}

#[test]
fn what_makes_it_ends_with_tierce() {
    for signal in ["KILL", "TERM", "INT"] {
        let project = project();
        // A Python whose environments are never finished, by a process of a process.
        project.write(
            "bin/python3",
            "#!/bin/sh\ncase \"$1\" in\n-I) echo 3.12.1 cpython glibc 0;;\n*) sleep 1000 & wait;;\nesac\n",
        );
        let program = project.path().join("bin/python3");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = project.command(&["up"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", project.path().join("bin").display()));
        let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_sleep =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0");
        wait_for("the tool to run", || project.processes().iter().any(is_sleep));
        testkit::signal(up.id(), signal);
        up.wait().unwrap();
        wait_within(PROMISED, "all processes to be gone", || project.processes().is_empty());
    }
}

#[test]
fn requirements_that_cannot_be_met_are_told() {
    let project = project();
    project.write("requirements.txt", "./nowhere-1.0-py3-none-any.whl\n");
    for words in [&["build"][..], &["up"], &["up", "-d"]] {
        let finished = project.run(words);
        assert_eq!(finished.code, 78, "{words:?}: {}", finished.err);
        assert!(finished.err.contains("error: ") && finished.err.contains("nowhere-1.0"), "{}", finished.err);
        assert_eq!(project.run(&["ps"]).code, 69);
    }
    requires(&project, "1.0");
    assert!(project.up(&[]).client().get("/").unwrap().text().starts_with("1.0 "), "what was left does no harm");
}
