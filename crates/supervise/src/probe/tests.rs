use std::fs;

use super::*;

/// Makes an executable script. Another process writes it: were it open here for writing while another test forks, it
/// could not be executed ("text file busy").
pub(crate) fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let write = "rm -f \"$2\" && printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
    let status = Command::new("/bin/sh").args(["-c", write, "sh", text]).arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_answer_decides() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("python");
    for (text, expected) in [
        ("echo 3.10.0 cpython glibc 0", Ok("3.10.0")),
        ("echo 3.9.25 cpython glibc 0", Err("it is Python 3.9.25; 3.10 is the oldest that works")),
        ("echo 2.7.18 cpython glibc 0", Err("it is Python 2.7.18; 3.10 is the oldest that works")),
        ("echo 3.11.15 pypy glibc 0", Err("it is pypy, not CPython")),
        ("echo 3.12.0 cpython - 0", Err("it does not use glibc")),
        ("echo 3.12.0 cpython musl 0", Err("it does not use glibc")),
        ("echo 3.14.0 cpython glibc 1", Err("free-threaded builds are not supported yet")),
        ("echo 3.12.0", Err("it did not run (exit status: 0)")),
        ("exit 3", Err("it did not run (exit status: 3)")),
        ("kill -9 $$", Err("it did not run (signal: 9 (SIGKILL))")),
        ("echo one >&2; echo 'libpython is missing' >&2; exit 127", Err("it did not run (libpython is missing)")),
    ] {
        script(&path, text);
        let found = probe(&path, directory.path());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }
}

#[test]
fn what_is_started_by_it_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("python");
    // Its child keeps both pipes open until it is told to end.
    script(&path, "(read end < fifo) & echo 3.12.0 cpython glibc 0");
    let fifo = directory.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert_eq!(probe(&path, directory.path()), Ok("3.12.0".to_owned()));
    fs::write(&fifo, "end\n").unwrap();
}

#[test]
fn one_that_does_not_answer_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("python");
    script(&path, "while :; do :; done");
    let found = ask(&[], &path, directory.path(), Duration::ZERO);
    assert_eq!(found.err().unwrap(), "it did not answer within 0 s");
}

#[test]
fn a_link_to_nothing_is_named_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("python");
    assert!(probe(&path, directory.path()).unwrap_err().contains("No such file"));
    std::os::unix::fs::symlink("/no/such/python", &path).unwrap();
    assert!(probe(&path, directory.path()).unwrap_err().contains("broken link"));
}

#[test]
fn packages_are_looked_for_in_the_python_itself() {
    let Some(python) =
        ["/usr/bin/python3", "/usr/local/bin/python3"].map(Path::new).into_iter().find(|path| path.is_file())
    else {
        return;
    };
    let project = tempfile::tempdir().unwrap();
    // What lies in the project is none of its packages.
    fs::create_dir(project.path().join("no_such_package-1.dist-info")).unwrap();
    let wanted = ["No.Such-Package".to_owned(), "other".to_owned()];
    // A system's Python that is too old says so before anything else.
    if let Ok(found) = probe_for(&wanted, python, project.path()) {
        assert_eq!(found.lacking, wanted);
    }
}
