//! Which project, which file, and which of several values counts: on directories made for each case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use config::{Config, Environment, Locate, Overrides, load};

/// A directory with `files`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, inner: &str) -> PathBuf {
        if inner.is_empty() { self.0.path().to_owned() } else { self.0.path().join(inner) }
    }

    /// Called in `current`, with `-C` and `-c` where they are given.
    fn locate(&self, current: &str, directory: Option<&str>, file: Option<&str>) -> Locate {
        let (directory, file) = (directory.map(PathBuf::from), file.map(PathBuf::from));
        Locate { directory, file, current: self.path(current), cores: 3 }
    }

    fn here(&self) -> Locate {
        self.locate("", None, None)
    }

    /// The problems of a project that has some, with this directory written as `/project`.
    fn problems(&self, locate: &Locate, environment: &Environment, flags: &Overrides) -> String {
        let problems = load(locate, environment, flags).unwrap_err().to_string();
        problems.replace(self.0.path().to_str().unwrap(), "/project")
    }
}

fn variables(pairs: &[(&str, &str)]) -> Environment {
    Environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn plain(locate: &Locate) -> Config {
    load(locate, &Environment::default(), &Overrides::default()).unwrap()
}

#[test]
fn the_project_is_where_the_file_is() {
    let tree = Tree::new(&[
        ("tierce.toml", "app = 'outer:app'"),
        ("deep/down/app.py", "app = None"),
        ("shared/pyproject.toml", "[tool.tierce]\napp = 'shared:app'"),
        ("shared/inner/app.py", "app = None"),
        ("silent/pyproject.toml", "[project]\nname = 'x' # no [tool.tierce] here"),
        ("both/tierce.toml", "app = 'own:app'"),
        ("both/pyproject.toml", "[tool.tierce]\napp = 'shared:app'"),
        ("other/prod.toml", "app = 'prod:app'"),
        ("inline/pyproject.toml", "[tool]\ntierce = { app = 'inline:app' }"),
    ]);
    let at = |current, directory, file| tree.locate(current, directory, file);
    for (locate, project, file, app) in [
        (at("", None, None), "", Some("tierce.toml"), "outer:app"),
        (at("deep/down", None, None), "", Some("tierce.toml"), "outer:app"),
        (at("shared/inner", None, None), "shared", Some("shared/pyproject.toml"), "shared:app"),
        (at("silent", None, None), "", Some("tierce.toml"), "outer:app"),
        (at("both", None, None), "both", Some("both/tierce.toml"), "own:app"),
        (at("inline", None, None), "inline", Some("inline/pyproject.toml"), "inline:app"),
        // -C does not walk up: the directory was named.
        (at("", Some("deep/down"), None), "deep/down", None, "app:app"),
        (at("", None, Some("other/prod.toml")), "other", Some("other/prod.toml"), "prod:app"),
        (at("deep", None, Some("../other/prod.toml")), "other", Some("other/prod.toml"), "prod:app"),
        (at("", Some("deep"), Some("../other/prod.toml")), "deep", Some("other/prod.toml"), "prod:app"),
    ] {
        let config = plain(&locate);
        assert_eq!(config.project, tree.path(project), "{locate:?}");
        assert_eq!(config.file, file.map(|file| tree.path(file)), "{locate:?}");
        assert_eq!(config.app.to_string(), app, "{locate:?}");
        assert_eq!(config::project(&locate).unwrap(), config.project, "{locate:?}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_the_one_problem() {
    let tree = Tree::new(&[
        ("pyproject.toml", "[tool.tierce]\napp = 'a:b'\nworker = 2\n"),
        ("broken/pyproject.toml", "[tool.tierce\n"),
        ("number/pyproject.toml", "[tool]\ntierce = 5\n"),
        ("without/pyproject.toml", "[project]\nname = 'x'\n"),
    ]);
    let at = |current, directory, file| tree.locate(current, directory, file);
    for (locate, expected) in [
        (at("", None, None), "error: unknown key `worker`\n --> pyproject.toml:3:1\n"),
        (at("broken", None, None), "error: this is not TOML\n --> pyproject.toml:1:13\n"),
        (
            at("number", None, None),
            "error: `tool.tierce`: expected a table, found a number\n --> pyproject.toml:2:10\n",
        ),
        (at("", Some("none"), None), "error: /project/none is not a directory\n"),
        (at("", None, Some("none.toml")), "error: cannot read /project/none.toml: No such file"),
        (at("", None, Some("without/pyproject.toml")), "error: /project/without/pyproject.toml has no [tool.tierce]\n"),
    ] {
        let problems = tree.problems(&locate, &Environment::default(), &Overrides::default());
        assert!(problems.starts_with(expected), "{locate:?}:\n{problems}");
        assert_eq!(problems.matches("error: ").count(), 1, "{locate:?}:\n{problems}");
    }
}

#[test]
fn files_that_cannot_be_read_are_told_from_those_that_are_absent() {
    let tree = Tree::new(&[("app.py", "x")]);
    fs::write(tree.path("tierce.toml"), b"app = '\xe9:app'\n").unwrap();
    let problems = |locate: &Locate| tree.problems(locate, &Environment::default(), &Overrides::default());
    let found = problems(&tree.here());
    assert!(found.contains("it is not UTF-8") && !found.contains("-c takes"), "{found}");
    let named = problems(&tree.locate("", None, Some("tierce.toml")));
    assert!(named.contains("it is not UTF-8") && named.contains("hint: -c takes"), "{named}");
    // Python may be written in another encoding, and says so itself.
    fs::write(tree.path("tierce.toml"), "").unwrap();
    fs::write(tree.path("app.py"), b"# coding: latin-1\nname = '\xe9'\napp = None\n").unwrap();
    assert_eq!(plain(&tree.here()).app.to_string(), "app:app");
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_port_over_the_default() {
    let flags = Overrides {
        workers: Some("7".to_owned()),
        bind: vec!["127.0.0.1:70".to_owned(), "unix:/run/x.sock".to_owned()],
        ..Overrides::default()
    };
    let full = "workers = 5\nlisten = ['localhost:50']";
    let general = [("WEB_CONCURRENCY", "4"), ("PORT", "40")];
    let own = [("TIERCE_WORKERS", "6"), ("TIERCE_LISTEN", ":60, :61"), ("WEB_CONCURRENCY", "4"), ("PORT", "40")];
    let none = Overrides::default();
    for (file, environment, flags, workers, listen) in [
        (full, &own[..], &flags, 7, "http://127.0.0.1:70 unix:/run/x.sock"),
        (full, &own[..], &none, 6, "http://0.0.0.0:60 http://0.0.0.0:61"),
        (full, &general[..], &none, 5, "http://localhost:50"),
        ("", &general[..], &none, 4, "http://0.0.0.0:40"),
        ("", &[], &none, 3, "http://localhost:8080"),
        // Set to nothing is not set.
        ("", &[("PORT", ""), ("TIERCE_WORKERS", "")], &none, 3, "http://localhost:8080"),
    ] {
        let tree = Tree::new(&[("tierce.toml", file), ("app.py", "app = None")]);
        let config = load(&tree.here(), &variables(environment), flags).unwrap();
        let addresses: Vec<_> = config.listen.iter().map(ToString::to_string).collect();
        assert_eq!((config.workers.most, addresses.join(" ").as_str()), (workers, listen), "{environment:?} {flags:?}");
    }
}

#[test]
fn workers_may_have_bounds_wherever_they_are_given() {
    let tree = Tree::new(&[("app.py", "app = None")]);
    let flags = |text: &str| Overrides { workers: Some(text.to_owned()), ..Overrides::default() };
    // Of three cores.
    for (text, shown) in [("auto", "1..12"), ("2..8", "2..8"), ("3", "3"), ("3..3", "3")] {
        let workers = |variables, flags: &Overrides| load(&tree.here(), &variables, flags).unwrap().workers.to_string();
        assert_eq!(workers(Environment::default(), &flags(text)), shown);
        assert_eq!(workers(variables(&[("WEB_CONCURRENCY", text)]), &Overrides::default()), shown);
    }
    let refused = load(&tree.here(), &Environment::default(), &flags("8..2")).unwrap_err().to_string();
    assert!(refused.contains("--workers: the lower bound comes first, found \"8..2\""), "{refused}");
}

#[test]
fn every_flag_reaches_its_key() {
    let tree = Tree::new(&[("tierce.toml", "")]);
    let some = |text: &str| Some(text.to_owned());
    let flags = Overrides {
        discover: None,
        app: some("a:b"),
        workers: some("2"),
        threads: some("9"),
        bind: vec![":1".to_owned()],
        timeout: some("45"),
        python: some("env/bin/python"),
        access_log: some("off"),
        upstream: Vec::new(),
        cores: some("3"),
        role: config::Role::All,
        node: None,
    };
    let config = load(&tree.here(), &Environment::default(), &flags).unwrap();
    assert_eq!(config.app.to_string(), "a:b");
    assert_eq!((config.workers, config.threads), (config::Workers::fixed(2), 9));
    assert_eq!(config.listen[0].to_string(), "http://0.0.0.0:1");
    assert_eq!(config.limits.time.as_secs(), 45);
    assert_eq!(config.python, Some(tree.path("env/bin/python")));
    assert_eq!(config.access_log, config::AccessLog::Off);
}

#[test]
fn every_variable_is_read_and_named_when_it_is_wrong() {
    let tree = Tree::new(&[("app.py", "app = None")]);
    for (name, value) in [
        ("TIERCE_APP", "a b"),
        ("TIERCE_NAME", "Web"),
        ("TIERCE_NODES", "many"),
        ("TIERCE_WORKERS", "0"),
        ("TIERCE_THREADS", "4097"),
        ("TIERCE_CORES", "-1"),
        ("TIERCE_LISTEN", "nowhere"),
        ("TIERCE_EXPOSE", "perhaps"),
        ("TIERCE_ENV_FILE", "no.env"),
        ("TIERCE_LIMITS__BODY", "10"),
        ("TIERCE_LIMITS__TIME", "30"),
        ("TIERCE_LIMITS__QUEUE", "x"),
        ("TIERCE_LIMITS__QUEUE_LENGTH", "0"),
        ("TIERCE_LIMITS__START", "0s"),
        ("TIERCE_LIMITS__DRAIN", "25h"),
        ("TIERCE_LOG__ACCESS", "xml"),
        ("WEB_CONCURRENCY", "2000"),
        ("PORT", "http"),
    ] {
        let problems = tree.problems(&tree.here(), &variables(&[(name, value)]), &Overrides::default());
        assert!(problems.starts_with(&format!("error: {name}: ")), "{name}:\n{problems}");
        assert_eq!(problems.matches("error: ").count(), 1, "{name}:\n{problems}");
    }
    // Others have variables of that prefix too, and a key may be gone in the next version.
    let unknown = variables(&[("TIERCE_COLOUR", "blue"), ("TIERCE_ENV", "x")]);
    assert_eq!(load(&tree.here(), &unknown, &Overrides::default()), Ok(plain(&tree.here())));
}

#[test]
fn problems_of_all_layers_come_together() {
    let tree = Tree::new(&[("tierce.toml", "worker = 5\n")]);
    let flags = Overrides { timeout: Some("soon".to_owned()), ..Overrides::default() };
    let problems = tree.problems(&tree.here(), &variables(&[("TIERCE_NODES", "-1")]), &flags);
    for expected in ["unknown key `worker`", "TIERCE_NODES: ", "--timeout: ", "no application found in /project"] {
        assert!(problems.contains(expected), "{expected}:\n{problems}");
    }
}

#[test]
fn an_application_is_found() {
    for (files, app, found_in) in [
        (&[("app.py", "app = 1"), ("wsgi.py", "app = 1")][..], "app:app", "app.py"),
        (&[("app.py", "x = 1"), ("wsgi.py", "application = 1")], "wsgi:application", "wsgi.py"),
        (&[("asgi.py", "application = 1"), ("main.py", "app = 1")], "asgi:application", "asgi.py"),
        (&[("main.py", "def create_app():\n    app = 1\n")], "main:create_app()", "main.py"),
        (&[("main.py", "application = 1\napp = 2\n")], "main:app", "main.py"),
        (
            &[
                ("manage.py", "os.environ.setdefault(\n    \"DJANGO_SETTINGS_MODULE\",\n    \"shop.settings\",\n)"),
                ("shop/wsgi.py", ""),
            ],
            "shop.wsgi:application",
            "manage.py",
        ),
    ] {
        let tree = Tree::new(files);
        let config = plain(&tree.here());
        assert_eq!(config.app.to_string(), app, "{files:?}");
        assert_eq!(config.app.found_in, Some(tree.path(found_in)), "{files:?}");
    }
    for (files, expected) in [
        (&[][..], "there is no app.py, wsgi.py, asgi.py, main.py or manage.py"),
        (&[("main.py", "app.run()"), ("wsgi.py", "")], "wsgi.py, main.py has no app, application or create_app()"),
        (&[("manage.py", "main()")], "manage.py does not name DJANGO_SETTINGS_MODULE"),
        (&[("app.py/__init__.py", "app = 1")], "app.py cannot be read: "),
    ] {
        let tree = Tree::new(files);
        let problems = tree.problems(&tree.here(), &Environment::default(), &Overrides::default());
        for part in ["error: no application found in /project\n", expected, "tierce up module:callable"] {
            assert!(problems.contains(part), "{part}:\n{problems}");
        }
    }
}

#[test]
fn where_routes_lead_elsewhere_there_need_be_no_application() {
    let route = "[[route]]\npath = \"/api\"\nupstream = \"http://127.0.0.1:1\"\n";
    let edge = Overrides { role: config::Role::Edge, ..Overrides::default() };
    let has_app = |app: &str, flags: &Overrides| {
        let tree = Tree::new(&[("tierce.toml", route), ("app.py", app)]);
        load(&tree.here(), &Environment::default(), flags).unwrap().has_app()
    };
    let all = Overrides::default();
    assert_eq!([has_app("app = 1", &all), has_app("", &all), has_app("app = 1", &edge)], [true, false, false]);
    let tree = Tree::new(&[("tierce.toml", &format!("app = \"a:app\"\n{route}"))]);
    let problems = tree.problems(&tree.here(), &Environment::default(), &edge);
    assert!(problems.contains("`app`: `tierce edge` runs no application"), "{problems}");
}

#[test]
fn a_container_is_one_node_that_everybody_may_reach() {
    let node = Overrides { role: config::Role::Node, node: Some("web-7".to_owned()), ..Overrides::default() };
    let of = |text: &str, variables: &[(&str, &str)]| {
        let tree = Tree::new(&[("tierce.toml", text), ("app.py", "app = 1")]);
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(&tree.here(), &Environment(variables.collect()), &node).unwrap()
    };
    let listens = |config: &config::Config| config.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    let config = of("nodes = 5", &[]);
    assert_eq!((config.nodes, config.node_name(1).as_str()), (1, "web-7"));
    assert_eq!(listens(&config), ["http://0.0.0.0:8080"]);
    assert_eq!(listens(&of("", &[("PORT", "5000")])), ["http://0.0.0.0:5000"]);
    assert_eq!(listens(&of("listen = 'http://localhost:81'", &[("PORT", "5000")])), ["http://localhost:81"]);
    let tree = Tree::new(&[("tierce.toml", "upstream = 'http://127.0.0.1:1'"), ("app.py", "app = 1")]);
    let problems = tree.problems(&tree.here(), &Environment::default(), &node);
    assert!(problems.contains("`tierce node` runs an application") && problems.contains("`tierce edge`"), "{problems}");
}

#[test]
fn a_notice_leaves_time_for_the_drain() {
    let seconds = |config: &config::Config| (config.limits.notice.as_secs_f64(), config.limits.grace.as_secs());
    for (text, expected) in [
        ("", Ok((2.0, 10))),
        ("limits.grace = '30s'", Ok((2.0, 30))),
        ("limits.grace = '3s'", Ok((1.0, 3))),
        ("limits.notice = '8s'", Ok((8.0, 10))),
        ("limits.notice = '8001ms'", Err("expected at most 8s: 2s less than limits.grace, which is 10s")),
        ("limits = { notice = '40s', grace = '30s' }", Err("expected at most 28s")),
        ("limits.notice = '100ms'", Err("expected a duration from 200ms to 1h")),
        ("limits.grace = '2s'", Err("expected a duration from 3s to 1h")),
    ] {
        let tree = Tree::new(&[("tierce.toml", text), ("app.py", "app = 1")]);
        let loaded = load(&tree.here(), &Environment::default(), &Overrides::default());
        match (loaded, expected) {
            (Ok(config), Ok(expected)) => assert_eq!(seconds(&config), expected, "{text}"),
            (Err(problems), Err(part)) => assert!(problems.to_string().contains(part), "{part}: {problems}"),
            (loaded, _) => panic!("{text}: {loaded:?}"),
        }
    }
}

#[test]
fn the_file_of_variables_lies_under_env() {
    let text = "app = 'a:b'\nenv_file = 'conf/.env'\nenv = { BOTH = 'env' }\n";
    let tree = Tree::new(&[("tierce.toml", text), ("conf/.env", "BOTH=file\nexport ONE='1 # one'\n\n# no\n")]);
    let env: Vec<_> = plain(&tree.here()).env.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["BOTH=env", "ONE=1 # one"]);

    fs::write(tree.path("conf/.env"), "A=1\nnonsense\n  2B=3\n").unwrap();
    let problems = tree.problems(&tree.here(), &Environment::default(), &Overrides::default());
    for expected in ["conf/.env:2:1\n", "2 | nonsense\n", "  | ^^^^^^^^\n", "conf/.env:3:3\n", "  |   ^^^^\n"] {
        assert!(problems.contains(expected), "{expected:?}:\n{problems}");
    }
}

/// Whatever stands in the file is a configuration or a list of problems.
#[test]
fn no_text_panics() {
    let full = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/full.toml")).unwrap();
    let tree = Tree::new(&[("app.py", "app = None")]);
    let file = tree.path("tierce.toml");
    for (at, character) in full.char_indices() {
        for text in [
            full[..at].to_owned(),
            format!("{}é{}", &full[..at], &full[at..]),
            format!("{}{}", &full[..at], &full[at + character.len_utf8()..]),
        ] {
            fs::write(&file, text).unwrap();
            if let Err(problems) = load(&tree.here(), &Environment::default(), &Overrides::default()) {
                assert!(!problems.0.is_empty());
                assert!(problems.to_string().starts_with("error: "));
            }
        }
    }
}
