//! Which node a request gets: ways to balance, clients that stick, upstreams that fail.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use testkit::{Client, Project, Response, Upstream, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const APP: &str =
    "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";
const ANSWERS: [&str; 3] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nc",
];

fn ask(client: &mut Client, fields: &str) -> Response {
    ask_for(client, "/path?query", fields)
}

fn ask_for(client: &mut Client, target: &str, fields: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
    client.response().unwrap()
}

/// The node that has answered, and the cookie that it has set.
fn stuck(client: &mut Client, fields: &str) -> (String, Option<String>) {
    stuck_at(client, "/", fields)
}

fn stuck_at(client: &mut Client, target: &str, fields: &str) -> (String, Option<String>) {
    let response = ask_for(client, target, fields);
    let node = response.field("x-served-by").unwrap().split('/').next().unwrap().to_owned();
    (node, response.field("set-cookie").map(str::to_owned))
}

#[test]
fn clients_stick_to_a_node_by_a_cookie_that_nobody_can_make_up() {
    let keys = "app = 'app:app'\nworkers = 1\nnodes = 3\nexpose = true\nsticky = true\ntrusted_proxies = ['127.0.0.1']";
    let project = Project::new(TIERCE, APP, keys);
    let running = project.up(&["--access-log", "off"]);
    let mut client = running.client();
    let (node, cookie) = stuck(&mut client, "X-Forwarded-Proto: https\r\n");
    let cookie = cookie.unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Secure");
    let value = pair.strip_prefix("tierce_node=").unwrap();
    assert!(value.len() == 32 && !value.contains("web"), "{value}");
    let brings = format!("Cookie: a=b; {pair}\r\n");
    for _ in 0..10 {
        assert_eq!(stuck(&mut client, &brings), (node.clone(), None));
    }
    let forged = format!("Cookie: tierce_node={:032x}\r\n", u128::from_str_radix(value, 16).unwrap() ^ 1);
    for foreign in ["", "Cookie: tierce_node=web.1\r\n", &forged, &format!("Cookie: {}\r\n", pair.to_uppercase())] {
        let all: BTreeSet<_> = (0..9).map(|_| stuck(&mut client, foreign)).collect();
        assert!(all.iter().map(|(node, _)| node).collect::<BTreeSet<_>>().len() == 3, "{foreign}: {all:?}");
        assert!(all.iter().all(|(_, cookie)| cookie.as_ref().is_some_and(|cookie| !cookie.contains("Secure"))));
    }
    // It goes elsewhere while its node is drained, and is told so.
    project.ok(&["drain", &node]);
    let (other, new) = stuck(&mut client, &brings);
    assert!(other != node && new.is_some());
    project.ok(&["ready", &node]);
    // A reload has new processes, a restart another Tierce; the name is the same.
    project.ok(&["reload"]);
    assert_eq!(stuck(&mut client, &brings), (node.clone(), None));
    project.ok(&["down"]);
    drop(running);
    let running = project.up(&["--access-log", "off"]);
    assert_eq!(stuck(&mut running.client(), &brings), (node, None));
    let secret = project.path().join(".tierce/secret");
    assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn clients_stick_in_each_service_also_in_one_that_comes_with_a_reload() {
    let upstreams = [(); 2].map(|()| Upstream::new());
    let urls: Vec<_> = upstreams.iter().map(Upstream::url).collect();
    upstreams.into_iter().for_each(|upstream| upstream.answer_all(ANSWERS[0]));
    let route = |name: &str| format!("[[route]]\npath = \"/{name}\"\nupstream = {urls:?}\nname = \"{name}\"\n");
    let keys =
        |routes: &str| format!("upstream = {urls:?}\nhealth.every = \"1h\"\nexpose = true\nsticky = true\n{routes}");
    let project = Project::new(TIERCE, "", &keys(&route("api")));
    let running = project.up(&["--access-log", "off"]);
    let ready = |count: usize| {
        wait_for("all to be ready", || {
            let ps = running.ps();
            let items = ps["items"].as_array().unwrap();
            items.len() == count && items.iter().all(|item| item["state"] == "ready")
        });
    };
    ready(4);
    let mut client = running.client();
    let mut first = |target: &str, name: &str| {
        let (node, cookie) = stuck_at(&mut client, target, "");
        let value = cookie.unwrap().strip_prefix(&format!("{name}=")).unwrap()[..32].to_owned();
        (node, value)
    };
    let ((main, main_value), (api, api_value)) = (first("/", "tierce_node"), first("/api", "tierce_node-api"));
    let brings = format!("Cookie: tierce_node={main_value}; tierce_node-api={api_value}\r\n");
    for _ in 0..6 {
        assert_eq!(stuck_at(&mut client, "/", &brings), (main.clone(), None));
        assert_eq!(stuck_at(&mut client, "/api", &brings), (api.clone(), None));
    }
    // Both have the same upstreams, and what names one of them here says nothing there.
    let swapped = format!("Cookie: tierce_node={api_value}; tierce_node-api={main_value}\r\n");
    assert!(["/", "/api"].iter().all(|target| stuck_at(&mut client, target, &swapped).1.is_some()));
    project.write("tierce.toml", &project.config(&keys(&(route("api") + &route("new")))));
    project.ok(&["reload"]);
    ready(6);
    let (_, cookie) = stuck_at(&mut client, "/new", &brings);
    assert!(cookie.unwrap().starts_with("tierce_node-new="));
    assert_eq!(stuck_at(&mut client, "/api", &brings), (api, None));
}

#[test]
fn a_hash_decides_where_it_is_to_and_a_reload_changes_that() {
    let upstreams = [(); 3].map(|()| Upstream::new());
    let urls: Vec<_> = upstreams.iter().map(Upstream::url).collect();
    upstreams.into_iter().zip(ANSWERS).for_each(|(upstream, answer)| upstream.answer_all(answer));
    let keys = |balance: &str| format!("upstream = {urls:?}\nhealth.every = \"1h\"\n{balance}");
    let by_hash = |on: &str| keys(&format!("balance = \"consistent_hash\"\nhash_on = \"{on}\""));
    let project = Project::new(TIERCE, "", &by_hash("header:X-Tenant"));
    let running = project.up(&["--access-log", "off"]);
    wait_for("all to be ready", || {
        running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
    });
    let mut client = running.client();
    let mut by_tenant = |field: &str| -> Vec<BTreeSet<String>> {
        let tenant = |tenant| (0..5).map(|_| ask(&mut client, &format!("{field}tenant{tenant}\r\n")).text()).collect();
        (0..40).map(tenant).collect()
    };
    let all = |answers: &[BTreeSet<String>]| answers.iter().flatten().cloned().collect::<BTreeSet<_>>();
    let first = by_tenant("x-tenant: ");
    assert!(first.iter().all(|answers| answers.len() == 1) && all(&first).len() == 3, "{first:?}");
    let without = by_tenant("X-Other: ");
    assert!(30 < without.iter().filter(|answers| answers.len() == 3).count(), "{without:?}");
    for (on, field) in
        [("cookie:tenant", "Cookie: a=b;tenant="), ("client", "X-Other: "), ("path", "X-Other: "), ("uri", "X-Other: ")]
    {
        project.write("tierce.toml", &project.config(&by_hash(on)));
        project.ok(&["reload"]);
        let answers = by_tenant(field);
        assert!(answers.iter().all(|answers| answers.len() == 1), "{on}: {answers:?}");
        assert_eq!(all(&answers).len() == 1, on != "cookie:tenant", "{on}: {answers:?}");
    }
    project.write("tierce.toml", &project.config(&keys("balance = \"round_robin\"")));
    project.ok(&["reload"]);
    // Whoever had fewer than others before has a turn or two more at first.
    let turns: Vec<_> = (0..15).map(|_| ask(&mut client, "").text()).skip(9).collect();
    assert_eq!(turns[..3].iter().collect::<BTreeSet<_>>().len(), 3, "{turns:?}");
    assert_eq!(turns[..3], turns[3..]);
}

#[test]
fn who_answers_that_it_cannot_is_left_alone_and_what_an_application_says_is_not_judged() {
    for (answer, ejected) in [
        ("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        let (bad, good) = (Upstream::new(), Upstream::new());
        let keys = format!("upstream = [{:?}, {:?}]\nhealth.every = \"1h\"", bad.url(), good.url());
        let word = format!("127.0.0.1:{} gets no requests for 1s: it has answered 502, 503 or 504 too often", bad.port);
        bad.answer_all(answer);
        good.answer_all(ANSWERS[0]);
        let project = Project::new(TIERCE, "", &keys);
        let running = project.up(&["--access-log", "off"]);
        wait_for("both to be ready", || {
            running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
        });
        let mut client = running.client();
        let mut failed = 0;
        wait_for("it to fail often enough", || {
            failed += u32::from(ask(&mut client, "").status != 200);
            running.err().contains(&word) || 40 <= failed
        });
        assert_eq!(failed < 40, ejected, "{answer}: {}", running.err());
    }
}

#[test]
fn one_request_shows_that_it_is_well_again() {
    let (gone, there) = (Upstream::new(), Upstream::new());
    let (url, port) = (gone.url(), gone.port);
    let project = Project::new(TIERCE, "", &format!("upstream = [{url:?}, {:?}]\nhealth.every = \"1h\"", there.url()));
    there.answer_all(ANSWERS[0]);
    let running = project.up(&["--access-log", "off"]);
    wait_for("both to be ready", || {
        running.ps()["items"].as_array().unwrap().iter().all(|item| item["state"] == "ready")
    });
    drop(gone);
    let mut client = running.client();
    let asked = |client: &mut Client| assert_eq!(ask(client, "").status, 200);
    wait_for("its ejection", || {
        asked(&mut client);
        running.err().contains(&format!("127.0.0.1:{port} gets no requests for 1s"))
    });
    wait_for("a trial in vain", || {
        asked(&mut client);
        running.err().contains(&format!("127.0.0.1:{port} gets no requests for 2s"))
    });
    Upstream::at(port).answer_all(ANSWERS[1]);
    wait_for("its return", || {
        asked(&mut client);
        running.err().contains(&format!("127.0.0.1:{port} answers, and gets requests again"))
    });
    let both: BTreeSet<_> = (0..10).map(|_| ask(&mut client, "").text()).collect();
    assert_eq!(both.len(), 2);
}
