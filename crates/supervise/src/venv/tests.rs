use std::sync::mpsc;

use super::*;
use crate::probe::tests::script;

/// A project with `x` as its requirement, and a directory of programs that are fakes.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(place.project()).unwrap();
        place.require("x\n");
        place.python("3.12.1", "echo collecting; echo installed >&2");
        place
    }

    fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    fn venv(&self) -> PathBuf {
        self.project().join(PLACE)
    }

    fn require(&self, text: &str) {
        fs::write(self.project().join("requirements.txt"), text).unwrap();
    }

    /// A fake Python whose environments are copies of itself; `pip` is what `-m pip` does.
    fn python(&self, version: &str, pip: &str) {
        let log = self.directory.path().join("log").display().to_string();
        let venv = "mkdir -p \"$3/bin\" && cp \"$0\" \"$3/bin/python\"";
        let text = format!(
            "case \"$1 $2\" in\n'-I -c') echo {version} cpython glibc 0;;\n\
             '-m venv') echo \"$*\" >> '{log}'; {venv};;\n'-m pip') echo \"$*\" >> '{log}'; {pip};;\nesac"
        );
        script(&self.directory.path().join("bin/python3"), &text);
    }

    fn provide(&self, when: When) -> (Result<Interpreter, PrepareError>, Vec<Step>) {
        let mut steps = Vec::new();
        let found = self.provide_reporting(when, &mut |step| steps.push(step));
        (found, steps)
    }

    fn provide_reporting(&self, when: When, report: Report<'_>) -> Result<Interpreter, PrepareError> {
        let mut environment = Environment::default();
        let path = self.directory.path().join("bin").display().to_string();
        environment.0.insert("PATH".to_owned(), path);
        let requirements = Requirements::of(&self.project()).unwrap().unwrap();
        provide(&self.project(), &environment, &requirements, when, report)
    }

    /// How often an environment was made since the last question.
    fn made(&self) -> usize {
        let log = self.directory.path().join("log");
        let made = fs::read_to_string(&log).unwrap_or_default().matches("-m venv").count();
        let _ = fs::remove_file(log);
        made
    }
}

fn notes(steps: &[Step]) -> Vec<&str> {
    steps.iter().filter_map(|step| if let Step::Note { what } = step { Some(what.as_str()) } else { None }).collect()
}

#[test]
fn it_is_made_once_and_again_when_something_changes() {
    let place = Place::new();
    let (found, steps) = place.provide(When::Outdated);
    let known = |found: Interpreter| (found.path, found.version, found.origin);
    let expected = (place.venv().join("bin/python"), "3.12.1".to_owned(), Origin::TierceVenv);
    assert_eq!(known(found.unwrap()), expected);
    let told = steps.iter().map(|step| match step {
        Step::Begin { what } | Step::End { what, .. } | Step::Note { what } => what.as_str(),
        Step::Output { line } => line.as_str(),
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "making .tierce/venv",
            "made .tierce/venv",
            "installing requirements.txt",
            "collecting",
            "installed",
            "installed requirements.txt"
        ]
    );
    assert_eq!(place.made(), 1);

    let (found, steps) = place.provide(When::Outdated);
    assert_eq!((known(found.unwrap()), steps), (expected, Vec::new()));
    assert_eq!(place.made(), 0);

    type Change = fn(&Place, &Path);
    let changes: [(&str, Change, Option<&str>); 6] = [
        ("requirements", |place, _| place.require("x\ny\n"), Some("has changed")),
        ("base", |place, _| place.python("3.13.0", "true"), Some("has changed")),
        ("broken", |_, venv| fs::remove_file(venv.join("bin/python")).unwrap(), Some("does not work")),
        ("interrupted", |_, venv| fs::remove_file(venv.join(STAMP)).unwrap(), None),
        ("half a stamp", |_, venv| fs::write(venv.join(STAMP), "requ").unwrap(), Some("has changed")),
        (
            "link",
            |_, venv| {
                fs::remove_dir_all(venv).unwrap();
                std::os::unix::fs::symlink("/no/such", venv).unwrap();
            },
            None,
        ),
    ];
    let mut current = place.venv();
    for (what, change, why) in changes {
        change(&place, &current);
        let (found, steps) = place.provide(When::Outdated);
        current = found.unwrap().path.parent().and_then(Path::parent).unwrap().to_owned();
        assert_eq!(place.made(), 1, "{what}");
        if let Some(why) = why {
            assert!(notes(&steps).iter().any(|note| note.contains(why)), "{what}: {steps:?}");
        }
        assert!(place.provide(When::Outdated).0.is_ok() && place.made() == 0, "{what}: made again");
    }
    assert!(place.provide(When::Always).0.is_ok() && place.made() == 1);
}

#[test]
fn the_newest_stays_as_it_is_while_the_next_is_made() {
    let place = Place::new();
    let first = place.provide(When::Outdated).0.unwrap().path;
    place.require("x\nbroken\n");
    place.python("3.12.1", "exit 1");
    assert!(place.provide(When::Outdated).0.is_err());
    assert!(first.is_file(), "a failure changes nothing");
    place.require("x\n");
    assert_eq!(place.provide(When::Outdated).0.unwrap().path, first);
    place.python("3.12.1", "true");
    place.require("x\ny\n");
    let second = place.provide(When::Outdated).0.unwrap().path;
    assert!(first != second && first.is_file());
    place.require("x\ny\nz\n");
    assert_eq!(place.provide(When::Outdated).0.unwrap().path, first, "the older one makes room");
}

#[test]
fn one_that_is_in_use_is_never_removed() {
    let place = Place::new();
    let running = place.provide(When::Outdated).0.unwrap();
    let clone = running.clone();
    drop(running);
    let mut made = vec![clone.path.clone()];
    for pip in ["true", "exit 1", "true", "true"] {
        place.python("3.12.1", pip);
        match place.provide(When::Always).0 {
            Ok(other) => made.push(other.path),
            Err(_) => assert_eq!(pip, "exit 1"),
        }
        assert!(clone.path.is_file(), "it is still run");
    }
    assert!(!made[1..].contains(&clone.path), "{made:?}");
    assert_eq!(made[1], made[3], "those that nobody runs make room: {made:?}");
    drop(clone);
    assert_eq!(place.provide(When::Always).0.unwrap().path, made[0]);

    let all: Vec<_> = std::iter::from_fn(|| place.provide(When::Always).0.ok()).take(100).collect();
    assert!(2 < all.len() && all.len() < 100, "there are bounds: {}", all.len());
    assert!(all.iter().all(|held| held.path.is_file()));
    let explanation = place.provide(When::Always).0.unwrap_err().0;
    assert!(explanation.cause.unwrap().contains("in use"));
}

#[test]
fn one_that_is_there_is_found_where_nothing_can_be_written() {
    let place = Place::new();
    let made = place.provide(When::Outdated).0.unwrap().path;
    let lock = place.project().join(".tierce/venv.lock");
    fs::remove_file(&lock).unwrap();
    // Which cannot be opened for writing, whoever this is.
    fs::create_dir(&lock).unwrap();
    assert_eq!(place.provide(When::Outdated).0.unwrap().path, made);
    assert!(place.provide(When::Always).0.is_err());
}

#[test]
fn what_failed_is_quoted_and_counts_as_absent() {
    let place = Place::new();
    for pip in ["echo no such package; echo sorry >&2; exit 1", "echo gone; kill -9 $$"] {
        place.python("3.12.1", pip);
        let (found, steps) = place.provide(When::Outdated);
        let explanation = found.unwrap_err().0;
        assert_eq!(explanation.place.as_deref(), Some("requirements.txt"));
        let detail = explanation.detail.unwrap();
        assert!(detail == "no such package\nsorry" || detail == "gone", "{detail}");
        let ended: Vec<_> = steps.iter().filter(|step| matches!(step, Step::End { .. })).collect();
        assert_eq!(ended.len(), 1, "what failed was not done: {steps:?}");
        assert!(newest(&place.project()).is_none());
        assert_eq!(place.made(), 1);
    }
    place.python("3.12.1", "true");
    assert!(place.provide(When::Outdated).0.is_ok());
    assert!(newest(&place.project()).is_some());
}

#[test]
fn a_python_without_ensurepip_gets_its_own_hint() {
    let place = Place::new();
    for (output, hint) in [
        ("not created successfully because ensurepip is not available. On Debian", "apt install python3-venv"),
        ("No module named venv", "apt install python3-venv"),
        ("no space left on device", "--python"),
    ] {
        let text = format!("case $1 in -I) echo 3.11.2 cpython glibc 0;; *) echo '{output}'; exit 1;; esac");
        script(&place.directory.path().join("bin/python3"), &text);
        let explanation = place.provide(When::Outdated).0.unwrap_err().0;
        assert!(explanation.hint.unwrap().contains(hint), "{output}");
        assert_eq!(explanation.detail.as_deref(), Some(output));
    }
}

#[test]
fn uv_is_preferred() {
    let place = Place::new();
    let log = place.directory.path().join("log").display().to_string();
    let text = format!(
        "echo \"uv $*\" >> '{log}'\n[ $1 = venv ] || exit 0\nmkdir -p \"$5/bin\" && cp \"$4\" \"$5/bin/python\""
    );
    script(&place.directory.path().join("bin/uv"), &text);
    let found = place.provide(When::Outdated).0.unwrap();
    let (venv, python) = (place.venv(), place.directory.path().join("bin/python3"));
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        format!(
            "uv venv --quiet --python {} {}\nuv pip install --python {} -r requirements.txt\n",
            python.display(),
            venv.display(),
            found.path.display()
        )
    );
}

#[test]
fn nothing_is_installed_when_nothing_is_required() {
    let place = Place::new();
    fs::remove_file(place.project().join("requirements.txt")).unwrap();
    fs::write(place.project().join("pyproject.toml"), "[project]\ndependencies = []\n").unwrap();
    place.python("3.12.1", "exit 1");
    assert!(place.provide(When::Outdated).0.is_ok());
}

#[test]
fn a_second_command_waits_and_finds_it_made() {
    let place = Place::new();
    assert!(place.provide(When::Outdated).0.is_ok() && place.made() == 1);
    // As while the other is making it.
    let (stamp, unfinished) = (place.venv().join(STAMP), place.venv().join("unfinished"));
    fs::rename(&stamp, &unfinished).unwrap();
    let held = lock(&place.project().join(".tierce"), &mut |_| ()).unwrap();
    let (sender, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            // Moved in, so that it is gone when the command has ended without a word.
            let sender = sender;
            place.provide_reporting(When::Outdated, &mut |step| sender.send(step).unwrap())
        });
        let first = told.recv().unwrap();
        assert!(matches!(&first, Step::Note { what } if what.contains("waiting")), "{first:?}");
        fs::rename(&unfinished, &stamp).unwrap();
        drop(held);
        assert!(second.join().unwrap().is_ok());
    });
    assert_eq!(place.made(), 0);
}

#[test]
fn who_has_waited_holds_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let first = lock(directory.path(), &mut |_| ()).unwrap();
    let (sender, told) = mpsc::channel();
    let second = std::thread::scope(|scope| {
        let path = directory.path();
        let second = scope.spawn(move || lock(path, &mut |step| sender.send(step).unwrap()));
        assert!(told.recv().is_ok());
        drop(first);
        second.join().unwrap().unwrap()
    });
    let third = File::open(directory.path().join("venv.lock")).unwrap();
    assert_eq!(flock(&third, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
    drop(second);
    assert_eq!(flock(&third, FlockOperation::LockExclusive), Ok(()));
}

#[test]
fn what_a_link_leads_to_is_left_alone() {
    let place = Place::new();
    let theirs = place.directory.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join(STAMP), "theirs").unwrap();
    fs::create_dir(place.project().join(".tierce")).unwrap();
    std::os::unix::fs::symlink(&theirs, place.venv()).unwrap();
    assert!(place.provide(When::Outdated).0.is_ok());
    assert_eq!(fs::read_to_string(theirs.join(STAMP)).unwrap(), "theirs");
}

#[test]
fn the_tool_holds_the_lock_until_it_ends() {
    let place = Place::new();
    let venv = place.venv();
    fs::create_dir_all(venv.parent().unwrap()).unwrap();
    let file = lock(venv.parent().unwrap(), &mut |_| ()).unwrap();
    let tools = Tools { project: &place.project(), lock: &file, uv: None, python: Path::new("python3"), venv: &venv };
    let mut told = Vec::new();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "[ /proc/self/fd/0 -ef .tierce/venv.lock ] && cat && echo held"]);
    assert!(tools.run(&mut command, &mut |step| told.push(step)).is_ok());
    assert_eq!(told, [Step::Output { line: "held".to_owned() }]);
}

#[test]
fn output_is_passed_on_and_bounded() {
    let mut lines = 0;
    let kept = pass_on(&b"one\ntwo  \r\n\xff\nend"[..], &mut |_| lines += 1);
    assert_eq!((kept.as_str(), lines), ("one\ntwo\n\u{fffd}\nend", 4));
    let long: Vec<u8> = (0..100_000).flat_map(|number| format!("line {number}\n").into_bytes()).collect();
    let kept = pass_on(&long[..], &mut |_| ());
    assert!(kept.len() <= OUTPUT_KEPT && kept.ends_with("line 99999"));
    let kept = pass_on(&vec![b'a'; OUTPUT_KEPT * 3][..], &mut |_| ());
    assert!(kept.len() <= OUTPUT_KEPT && OUTPUT_KEPT / 2 < kept.len());
}

#[test]
fn a_project_that_cannot_be_written_is_said() {
    let place = Place::new();
    fs::write(place.project().join(".tierce"), "a file").unwrap();
    let explanation = place.provide(When::Outdated).0.unwrap_err().0;
    assert!(explanation.what.contains("cannot write") && explanation.hint.is_some(), "{explanation}");
}
