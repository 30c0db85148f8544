//! The image, and the example in containers, in a real Docker engine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, thread};

use testkit::{Client, Compose, Engine, IMAGE, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const CONTAINED: &str = include_str!("apps/in_docker.py");

/// What the program adds to the base, without optimisation and without symbols.
const ADDED_MAX: u64 = 64_000_000;

#[test]
fn the_image_is_small_and_needs_no_rights() {
    let Some(engine) = Engine::find(TIERCE) else { return };
    let size = |image| -> u64 { engine.ok(&["image", "inspect", "-f", "{{.Size}}", image]).trim().parse().unwrap() };
    let added = size(IMAGE) - size("tierce-test-base");
    assert!(added < ADDED_MAX, "{added} bytes");
    assert_eq!(engine.ok(&["image", "inspect", "-f", "{{.Config.User}}", IMAGE]).trim(), "65534:65534");
    let rights = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none"];
    let version = [&["run", "--rm"][..], &rights, &[IMAGE, "--version"]].concat();
    assert!(engine.ok(&version).starts_with("tierce "));
    // It serves too, with nothing to write to but the directory of what runs.
    let serve = [
        "--tmpfs",
        "/run/tierce:uid=65534,gid=65534",
        IMAGE,
        "edge",
        "-b",
        ":8080",
        "--upstream",
        "http://127.0.0.1:1",
    ];
    let container = engine.ok(&[&["run", "-d"][..], &rights, &serve].concat()).trim().to_owned();
    wait_for("the edge", || {
        let logs = engine.logs(&container);
        assert!(engine.ok(&["inspect", "-f", "{{.State.Running}}", &container]).trim() == "true", "{logs}");
        logs.contains("ready in")
    });
    engine.ok(&["rm", "-f", &container]);
}

#[test]
fn the_example_comes_up_scales_and_goes() {
    let Some(engine) = Engine::find(TIERCE) else { return };
    let project = Compose::example(engine, 8081, CONTAINED);
    project.ok(&["up", "-d", "--build"]);
    wait_for("the example", || answers(engine, &project, 1) == short(project.containers("web")));
    project.ok(&["scale", "web=3"]);
    // Its balancer has looked the name up already, and would again when the records are old.
    project.ok(&["restart", "lb"]);
    let containers = short(project.containers("web"));
    assert_eq!(containers.len(), 3);
    wait_for("answers of all", || answers(engine, &project, 12) == containers);
    project.ok(&["down"]);
    assert_eq!(project.left(), "");
}

#[test]
fn a_stop_of_the_balancer_finishes_what_is_in_flight() {
    let Some(engine) = Engine::find(TIERCE) else { return };
    let project = Compose::example(engine, 8082, CONTAINED);
    project.ok(&["up", "-d", "--build"]);
    wait_for("the example", || answers(engine, &project, 1).len() == 1);
    let [web, lb] = ["web", "lb"].map(|service| project.containers(service).remove(0));
    let mut client = engine.connect(project.port).unwrap();
    client.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    wait_for("the request in flight", || engine.succeeds(&["exec", &web, "test", "-e", ".tierce/held"]));
    thread::scope(|scope| {
        let stopping = scope.spawn(|| engine.ok(&["stop", "-t", "30", &lb]));
        // The proxy of the engine takes connections all the same, and closes them.
        wait_for("the edge to take no more", || answers(engine, &project, 1).is_empty());
        assert!(!stopping.is_finished());
        engine.ok(&["exec", &web, "touch", ".tierce/go"]);
        assert_eq!(client.response().unwrap().text(), "finished");
        stopping.join().unwrap();
    });
    assert_eq!(engine.ok(&["inspect", "-f", "{{.State.ExitCode}}", &lb]).trim(), "0");
}

/// Who answers so many requests at once, each on a connection of its own; those that fail are left out.
fn answers(engine: &Engine, project: &Compose<'_>, count: usize) -> BTreeSet<String> {
    thread::scope(|scope| {
        let asking: Vec<_> = (0..count).map(|_| scope.spawn(|| answer(engine.connect(project.port).ok()?))).collect();
        asking.into_iter().filter_map(|asked| asked.join().unwrap()).collect()
    })
}

fn answer(mut client: Client) -> Option<String> {
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").ok()?;
    let response = client.response().ok()?;
    (response.status == 200).then(|| response.text())
}

/// Containers as they name themselves.
fn short(containers: Vec<String>) -> BTreeSet<String> {
    containers.into_iter().map(|id| id[..12].to_owned()).collect()
}
