use std::fs;

use super::*;

fn of(project: &Path) -> Requirements {
    Requirements::of(project).unwrap().unwrap()
}

#[test]
fn pyproject_is_read_when_there_is_no_requirements_txt() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path();
    assert_eq!(Requirements::of(project).unwrap(), None);
    fs::write(project.join("pyproject.toml"), "[project]\nname = 'a'\ndependencies = ['flask>=3', 'x']\n").unwrap();
    let found = of(project);
    assert_eq!((found.file(), found.arguments().join(" ").as_str()), ("pyproject.toml", "-- flask>=3 x"));
    fs::write(project.join("requirements.txt"), "flask\n").unwrap();
    let other = of(project);
    assert_eq!((other.file(), other.arguments().join(" ").as_str()), ("requirements.txt", "-r requirements.txt"));
    assert_ne!(found.stamp("3.11.7"), other.stamp("3.11.7"));
}

#[test]
fn what_pyproject_may_say() {
    let directory = tempfile::tempdir().unwrap();
    let none: &[&str] = &[];
    for (text, expected) in [
        ("", Ok(None)),
        ("[tool.tierce]\nnodes = 2", Ok(None)),
        ("[project]\nname = 'a'", Ok(None)),
        ("[project]\ndependencies = []", Ok(Some(none))),
        ("[project]\ndependencies = ['-e .']", Ok(Some(&["--", "-e ."] as &[_]))),
        ("[project]\ndependencies = 'flask'", Err("not a list of strings")),
        ("[project]\ndependencies = [1]", Err("not a list of strings")),
        ("[project\n", Err("TOML parse error")),
    ] {
        fs::write(directory.path().join("pyproject.toml"), text).unwrap();
        match (Requirements::of(directory.path()), expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(
                    found.as_ref().map(Requirements::arguments).map(<[_]>::to_vec),
                    expected.map(|list| list.iter().map(ToString::to_string).collect()),
                    "{text}"
                );
            }
            (Err(error), Err(why)) => assert!(error.0.cause.as_ref().unwrap().contains(why), "{text}: {error}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

#[test]
fn the_stamp_changes_with_what_is_installed_and_with_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let project = directory.path();
    let write = |name: &str, text: &str| {
        fs::create_dir_all(project.join(name).parent().unwrap()).unwrap();
        fs::write(project.join(name), text).unwrap();
        of(project).stamp("3.11.7")
    };
    let first = write("pyproject.toml", "[project]\ndependencies = ['flask']\n");
    assert_eq!(first, write("pyproject.toml", "[project]\nversion = '2'\ndependencies = [ 'flask' ]\n[tool.tierce]\n"));
    assert_ne!(first, write("pyproject.toml", "[project]\ndependencies = ['flask', 'x']\n"));
    let mut stamps = vec![first];
    for (name, text) in [
        ("requirements.txt", "flask\n"),
        ("requirements.txt", "flask\n-r  more/a.txt  # more\n--constraint=c.txt\n"),
        ("more/a.txt", "-rb.txt\n-r ../requirements.txt\n"),
        ("more/b.txt", "x\n"),
        ("more/b.txt", "x\ny\n"),
        ("c.txt", "x<3\n"),
    ] {
        let stamp = write(name, text);
        assert!(!stamps.contains(&stamp), "{name}: {text}");
        stamps.push(stamp);
    }
    assert_eq!(stamps.last(), Some(&write("b.txt", "stands elsewhere\n")));
    assert_ne!(of(project).stamp("3.11.7"), of(project).stamp("3.12.0"));
}

#[test]
fn packages_are_what_is_named_without_a_condition() {
    for (line, expected) in [
        ("flask", Some("flask")),
        ("  Flask[async] >= 3, <4 # why", Some("Flask")),
        ("zope.interface==6", Some("zope.interface")),
        ("x @ https://example.org/x.whl", Some("x")),
        ("x==1 \\", Some("x")),
        ("x; python_version < '3.11'", None),
        ("x>1;python_version<'3.11'", None),
        ("-e .", None),
        ("    --hash=sha256:0", None),
        ("./x", None),
        ("dir/x", None),
        ("x-1.0-py3-none-any.whl", None),
        ("x-1.0.tar.gz", None),
        ("https://example.org/x.whl", None),
        ("git+https://example.org/x", None),
        ("# flask", None),
        ("", None),
    ] {
        assert_eq!(package(line).as_deref(), expected, "{line}");
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in
        [("requirements.txt", "-r a.txt\n-c c.txt\nx\n"), ("a.txt", "y\n"), ("c.txt", "z<3\n-r d.txt"), ("d.txt", "z")]
    {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let mut found = of(directory.path()).packages().to_vec();
    found.sort();
    assert_eq!(found, ["x", "y"]);
}

#[test]
fn the_hash_is_the_same_on_every_machine() {
    // The published values of 64-bit FNV-1a.
    for (text, expected) in
        [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
    {
        assert_eq!(fnv_1a(FNV_START, text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_no_absence() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("requirements.txt")).unwrap();
    assert!(Requirements::of(directory.path()).is_err());
    fs::remove_dir(directory.path().join("requirements.txt")).unwrap();
    fs::write(directory.path().join("requirements.txt"), b"\xff\xfef\0").unwrap();
    assert_eq!(of(directory.path()).file(), "requirements.txt");
    let long = File::create(directory.path().join("requirements.txt")).unwrap();
    long.set_len(FILE_MAX + 1).unwrap();
    assert!(Requirements::of(directory.path()).unwrap_err().0.cause.unwrap().contains("4 MiB"));
}
