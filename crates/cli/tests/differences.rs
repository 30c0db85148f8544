//! `tierce reload` shows what differs in the configuration, then applies it; `--dry-run` only shows it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::Stdio,
};

use serde_json::{Value, json};
use testkit::{Project, Running, Upstream, certificate, expired_certificate, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'one']\n";
const KEYS: &str = "app = 'app:app'\nworkers = 1\ncores = 1";

fn generation(running: &Running<'_>) -> Value {
    running.ps()["items"][0]["generation"].clone()
}

fn log(project: &Project) -> String {
    project.read(".tierce/log/tierce.log")
}

#[test]
fn a_reload_shows_what_differs_before_it_applies_it() {
    // New code waits for the test.
    let app = format!(
        "import os, time\nwhile os.path.exists('wait') and not os.path.exists('go'):\n    time.sleep(0.01)\n{APP}"
    );
    let project = Project::new(TIERCE, &app, KEYS);
    let running = project.up(&[]);
    project.write("wait", "");
    project.write("tierce.toml", &project.config(&format!("{KEYS}\nnodes = 2\nlimits.queue = '10s'")));
    let mut command = project.command(&["reload"]);
    let mut reload = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(reload.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("nodes: 1 → 2"));
    assert_eq!(lines.next().as_deref(), Some("limits.queue: 30s → 10s"));
    assert_eq!(generation(&running), 1, "nothing is applied before the new code is there");
    project.write("go", "");
    assert_eq!(lines.next(), None);
    let mut said = String::new();
    reload.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("✓ reloaded in ") && said.lines().count() == 1, "{said}");
    assert!(reload.wait().unwrap().success());
    assert_eq!(running.ps()["items"].as_array().unwrap().len(), 2);

    // The code may be new all the same.
    let again = project.ok(&["reload"]);
    assert_eq!(again.out, "the configuration is unchanged\n");
    assert!(again.err.starts_with("✓ reloaded in "), "{}", again.err);
    assert_eq!(generation(&running), 3);
    assert_eq!(project.ok(&["--quiet", "reload"]).out, "");
}

#[test]
fn a_look_changes_nothing() {
    let project = Project::new(TIERCE, APP, KEYS);
    let running = project.up(&[]);
    assert_eq!(project.ok(&["reload", "--dry-run"]).out, "the configuration is unchanged\n");
    // What is wrong with code is not looked at: it is not imported.
    project.write("app.py", "app = 1 / 0\n");
    project.write("tierce.toml", &project.config(&format!("{KEYS}\nnodes = 2\nexpose = true")));
    for _ in 0..2 {
        let looked = project.ok(&["reload", "--dry-run"]);
        assert_eq!(looked.out, "nodes: 1 → 2\nexpose: false → true\n");
        assert_eq!(looked.err, "✓ the configuration is valid; nothing was changed\n");
    }
    assert_eq!(project.ok(&["--quiet", "reload", "--dry-run"]).out, "nodes: 1 → 2\nexpose: false → true\n");
    let answer = running.client().get("/").unwrap();
    assert_eq!((answer.text(), answer.field("x-served-by")), ("one".to_owned(), None));
    assert_eq!((generation(&running), running.ps()["items"].as_array().unwrap().len()), (json!(1), 1));
    assert!(!log(&project).contains("nodes: 1"), "{}", log(&project));

    project.write("tierce.toml", &project.config(&format!("{KEYS}\nnode = 2")));
    for words in [&["reload", "--dry-run"][..], &["reload"]] {
        let refused = project.run(words);
        assert_eq!((refused.code, refused.out.as_str()), (78, ""), "{}", refused.err);
        assert!(refused.err.contains("unknown key `node`"), "{}", refused.err);
        assert!(refused.err.ends_with("nothing was changed\n"), "{}", refused.err);
    }
    drop(running);
    assert_eq!(project.run(&["reload", "--dry-run"]).code, 69);
}

#[test]
fn a_look_reads_certificates_too() {
    let upstream = Upstream::new();
    let keys = |more: &str| format!("upstream = ['{}']\n{more}", upstream.url());
    let project = Project::new(TIERCE, "", &keys(""));
    let _running = project.up(&[]);
    let tls = "tls = { certificate = 'a.pem', key = 'a.key' }\n";
    let https = format!("{tls}listen = ['127.0.0.1:{}', 'https://127.0.0.1:0']\n", project.port);
    project.write("tierce.toml", &project.config(&keys(&https)));
    let refused = project.run(&["reload", "--dry-run"]);
    assert_eq!((refused.code, refused.out.as_str()), (78, ""), "{}", refused.err);
    assert!(refused.err.contains("a.pem") && refused.err.contains("nothing was changed"), "{}", refused.err);
    for (made, warns) in [(expired_certificate(&["localhost"]), true), (certificate(&["localhost"]), false)] {
        project.write("a.pem", &made.certificate);
        project.write("a.key", &made.key);
        let looked = project.ok(&["reload", "--dry-run"]);
        assert_eq!(looked.out, "listen: + https://127.0.0.1:0\ntls: + a.pem\n");
        assert_eq!(looked.err.contains("expired"), warns, "{}", looked.err);
    }
    project.write("tierce.toml", &project.config(&keys("slow_start = '1s'")));
    assert_eq!(project.ok(&["reload"]).out, "slow_start: 0s → 1s\n", "also where nothing has to be loaded");
}

#[test]
fn programs_get_the_same() {
    let project = Project::new(TIERCE, APP, KEYS);
    let _running = project.up(&[]);
    project.write(
        "tierce.toml",
        &project.config(&format!("{KEYS}\nenv = {{ A = '1' }}\nlimits.queue = '10s'\n[[route]]\npath = '/a'")),
    );
    let items = json!([
        { "text": "[[route]]: + path = \"/a\"", "of": null, "key": "[[route]]", "change": "added", "old": null, "new": "path = \"/a\"" },
        { "text": "env.A: added", "of": null, "key": "env.A", "change": "added", "old": null, "new": null },
        { "text": "limits.queue: 30s → 10s", "of": null, "key": "limits.queue", "change": "changed", "old": "30s", "new": "10s" },
    ]);
    let said = |words: &[&str]| serde_json::from_str::<Value>(&project.ok(words).out).unwrap();
    let looked = said(&["reload", "--dry-run", "--format", "json"]);
    assert_eq!((&looked["schema"], &looked["items"], &looked["more"]), (&json!(1), &items, &json!(0)));
    let reloaded = said(&["reload", "--format", "json"]);
    assert_eq!(reloaded["items"], items);
    assert!(reloaded["text"].as_str().unwrap().starts_with("reloaded in "), "{reloaded}");
    assert_eq!(said(&["reload", "--format", "json"])["items"], json!([]));
}

#[test]
fn secrets_are_never_shown() {
    let hash = |letter: &str| format!("$2y$05${}", letter.repeat(53));
    let keys = |word: &str| {
        format!(
            "{KEYS}\nenv = {{ SECRET_KEY = '{word}-variable' }}\n[[route]]\npath = '/a'\nbasic_auth = 'users'\n\
             set_request_header = {{ Authorization = '{word}-token' }}\n"
        )
    };
    let project = Project::new(TIERCE, APP, &keys("old"));
    project.write("users", &format!("ana:{}\n", hash("q")));
    let running = project.up(&[]);
    project.write("users", &format!("ana:{}\n", hash("z")));
    project.write("tierce.toml", &project.config(&keys("new")));
    let of_route = "[[route]] path = \"/a\": ";
    let expected = format!(
        "{of_route}basic_auth: changed\n{of_route}set_request_header.Authorization: changed\nenv.SECRET_KEY: changed\n"
    );
    let looked = project.ok(&["reload", "--dry-run"]);
    let json = project.ok(&["reload", "--dry-run", "--format", "json"]);
    assert_eq!(looked.out, expected);
    running.signal("HUP");
    wait_for("the reload", || running.err().contains("reloaded in"));
    for said in [looked.err, json.out, json.err, running.err(), running.out(), log(&project)] {
        for secret in ["-variable", "-token", "qqq", "zzz", "ana"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
    }
    assert!(log(&project).contains("env.SECRET_KEY: changed"), "{}", log(&project));
}

#[test]
fn a_signal_and_a_saved_file_tell_the_log() {
    let project = Project::new(TIERCE, APP, KEYS);
    let running = project.up(&[]);
    running.signal("HUP");
    wait_for("the first reload", || running.err().contains("reloaded in"));
    let quiet = running.err();
    project.write("tierce.toml", &project.config(&format!("{KEYS}\nexpose = true")));
    running.signal("HUP");
    wait_for("the second", || running.err().matches("reloaded in").count() == 2);
    let said = running.err()[quiet.len()..].to_owned();
    assert!(said.starts_with("expose: false → true\n") && said.lines().count() == 2, "{said}");
    assert!(!quiet.contains('→') && !quiet.contains("unchanged"), "{quiet}");
    assert!(log(&project).contains("expose: false → true"), "{}", log(&project));
    drop(running);

    let running = project.up(&["--reload"]);
    project.write("app.py", &APP.replace("one", "two"));
    wait_for("its line", || running.err().contains("↻ app.py changed: reloaded in"));
    assert!(!running.err().contains('→'), "{}", running.err());
    project.write("tierce.toml", &project.config(KEYS));
    wait_for("its line", || running.err().contains("↻ tierce.toml changed: reloaded in"));
    assert!(running.err().contains("expose: true → false\n↻ tierce.toml"), "{}", running.err());
}

#[test]
fn a_command_that_is_older_gets_the_answer_alone() {
    let project = Project::new(TIERCE, APP, KEYS);
    let _running = project.up(&[]);
    project.write("tierce.toml", &project.config(&format!("{KEYS}\nexpose = true")));
    let mut stream = UnixStream::connect(project.path().join(".tierce/control.sock")).unwrap();
    stream.write_all(b"{\"do\":\"reload\"}\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("{\"say\":\"done\",\"text\":\"reloaded in "), "{answer}");
    assert_eq!(answer.lines().count(), 1, "{answer}");
}
