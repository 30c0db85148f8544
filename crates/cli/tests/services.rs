//! Several services in one Tierce: routes with upstreams of their own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use testkit::{Client, Connections, OpenLoop, Project, Response, Upstream, free_port, wait_for};

const TIERCE: &str = env!("CARGO_BIN_EXE_tierce");
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OTHER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother";
const APP: &str = "def app(environ, start_response):\n    start_response('200 OK', [('Content-Length', '3')])\n    \
                   return [b'app']\n";

/// A route with an upstream that is probed once, if all goes well.
fn route(path: &str, url: &str, keys: &str) -> String {
    format!("[[route]]\npath = {path:?}\nupstream = [{url:?}]\n{keys}\n")
}

fn says(response: &Response, status: u16, cause: &str) {
    assert_eq!((response.status, response.text().contains(cause)), (status, true), "{}", response.text());
}

fn state<'a>(ps: &'a serde_json::Value, node: &str) -> &'a serde_json::Value {
    ps["items"].as_array().unwrap().iter().find(|item| item["node"] == node).unwrap()
}

#[test]
fn a_route_leads_elsewhere_beside_the_application() {
    let (upstream, admin) = (Upstream::new(), free_port());
    let address = format!("127.0.0.1:{}", upstream.port);
    let keys = "strip_prefix = true\nset_request_header = { X-Api = \"1\" }\nlimits.body = \"1kB\"\n\
                remove_header = [\"Server\"]";
    let keys = format!(
        "app = \"app:app\"\nworkers = 1\nadmin = \"127.0.0.1:{admin}\"\nhealth.every = \"1h\"\nserver_timing = true\n{}",
        route("/api", &upstream.url(), keys)
    );
    let project = Project::new(TIERCE, APP, &keys);
    let running = project.up(&["--access-log", "json"]);
    assert!(running.err().contains(&format!("✓ api: requests go to {address}\n")), "{}", running.err());
    let mut client = running.client();
    assert_eq!(client.get("/a").unwrap().text(), "app");
    client.send("GET /api/a?b HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut caller = upstream.accept();
    let head = caller.answer("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok");
    for part in ["GET /a?b HTTP/1.1\r\n", "X-Forwarded-Prefix: /api\r\n", "X-Api: 1\r\n"] {
        assert!(head.contains(part), "{head}");
    }
    let response = client.response().unwrap();
    assert_eq!((response.text().as_str(), response.field("server")), ("ok", None));
    assert!(response.field("server-timing").unwrap().contains("queue;dur="), "{response:?}");
    assert_eq!(client.post("/api", &[b'x'; 2000]).unwrap().status, 413);
    let mut client = running.client();
    assert_eq!(client.get("/apix").unwrap().text(), "app");
    wait_for("its line", || running.out().contains(&format!("\"tierce.node\":\"{address}\"")));
    running.wait_until_idle();
    let ps = running.ps();
    let names: Vec<_> = ps["apps"].as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web", "api"]);
    assert_eq!((&state(&ps, "web.1")["service"], &state(&ps, &address)["service"]), (&"web".into(), &"api".into()));
    assert!(project.ok(&["ps"]).out.contains("SERVICE"));
    let mut watcher = Client::connect(admin).unwrap();
    let metrics = watcher.get("/metrics").unwrap().text();
    for line in [
        format!("tierce_node_requests_total{{service=\"api\",node=\"{address}\",generation=\"1\"}} 1"),
        "tierce_node_ready{service=\"web\",node=\"web.1\",generation=\"1\"} 1".to_owned(),
        "tierce_queue_depth{service=\"api\"} 0".to_owned(),
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line} is missing in\n{metrics}");
    }
    assert_eq!(project.ok(&["scale", "web=2"]).code, 0);
    assert_eq!(project.run(&["scale", "api=2"]).code, 2);
}

#[test]
fn a_service_that_is_full_or_down_does_not_hold_up_the_other() {
    let (full, well, admin, down) = (Upstream::new(), Upstream::new(), free_port(), free_port());
    let (full_url, well_url) = (full.url(), well.url());
    well.answer_all(OK);
    let keys = format!(
        "upstream = [{well_url:?}]\nadmin = \"127.0.0.1:{admin}\"\nlimits.queue_length = 1\ncores = 1\nhealth.every = \"1h\"\n\
         [[route]]\npath = \"/full\"\nupstream = {{ url = {full_url:?}, max_concurrency = 1 }}\n{}",
        route("/down", &format!("http://127.0.0.1:{down}"), "")
    );
    let project = Project::new(TIERCE, "", &keys);
    let running = project.up(&[]);
    let look = |path: &str| Client::connect(admin).unwrap().get(path).unwrap();
    let ready = || look("/ready");
    let [mut runs, mut waits, mut unlucky, mut other] = [(); 4].map(|()| running.client());
    let ask = |client: &mut Client, path: &str| client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    let queued = |name: &str| {
        let ps = running.ps();
        let apps = ps["apps"].as_array().unwrap();
        apps.iter().find(|app| app["name"] == name).unwrap()["queued"].as_u64().unwrap()
    };
    ask(&mut runs, "/full");
    let mut caller = full.accept();
    caller.head().unwrap();
    ask(&mut waits, "/full");
    wait_for("it to wait", || queued("full") == 1);
    says(&unlucky.get("/full").unwrap(), 503, "queue_full");
    ask(&mut unlucky, "/down");
    wait_for("it to wait", || queued("down") == 1);
    assert_eq!(queued("web"), 0);
    assert_eq!(other.get("/").unwrap().text(), "ok");
    let told = ready();
    let body: serde_json::Value = serde_json::from_str(&told.text()).unwrap();
    let readiness: Vec<_> = body["apps"].as_array().unwrap().iter().map(|app| app["ready"] == true).collect();
    assert_eq!((told.status, readiness), (503, vec![true, true, false]), "{body}");
    assert_eq!(["web", "down", "x"].map(|name| look(&format!("/ready/{name}")).status), [200, 503, 404]);
    // Both go on when they can.
    Upstream::at(down).answer_all(OTHER);
    assert_eq!(unlucky.response().unwrap().text(), "other");
    wait_for("all to be ready", || ready().status == 200);
    caller.send(OK).unwrap();
    assert_eq!(runs.response().unwrap().text(), "ok");
    caller.answer(OTHER);
    assert_eq!(waits.response().unwrap().text(), "other");
}

#[test]
fn services_come_and_go_under_load() {
    let (main, other, held) = (Upstream::new(), Upstream::new(), Upstream::new());
    let [main_url, other_url, held_url] = [main.url(), other.url(), held.url()];
    let main_address = format!("127.0.0.1:{}", main.port);
    main.answer_all(OK);
    other.answer_all(OTHER);
    let keys = |routes: &str| format!("upstream = [{main_url:?}]\nhealth.every = \"1h\"\n{routes}");
    let with = keys(&(route("/run", &other_url, "name = \"other\"") + &route("/held", &held_url, "")));
    let project = Project::new(TIERCE, "", &keys(""));
    let running = project.up(&["--access-log", "off"]);
    let reload = |keys: &str| {
        project.write("tierce.toml", &project.config(keys));
        project.ok(&["reload"]).err
    };
    let mut client = running.client();
    let outcomes = OpenLoop { port: project.port, rate: 300, connections: Connections::Kept }.run(|progress| {
        progress.more(50);
        let said = reload(&with);
        assert!(
            said.contains(&format!("2 new (other/{}, held/{}), 0 gone", &other_url[7..], &held_url[7..])),
            "{said}"
        );
        progress.more(100);
        let ps = running.ps();
        assert!(50 <= state(&ps, &other_url[7..])["requests"].as_u64().unwrap(), "{ps}");
        let known = state(&ps, &main_address);
        assert!(
            known["state"] == "ready" && 50 <= known["requests"].as_u64().unwrap(),
            "what stays is as it was: {ps}"
        );
        // What is in flight finishes where it is, though nothing leads there any more.
        client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut caller = held.accept();
        caller.head().unwrap();
        let said = reload(&keys(""));
        assert!(said.contains("0 new, 2 gone"), "{said}");
        assert_eq!(running.ps()["apps"].as_array().unwrap().len(), 1);
        progress.more(50);
        caller.send(OTHER).unwrap();
        assert_eq!(client.response().unwrap().text(), "other");
        assert_eq!(client.get("/held").unwrap().text(), "ok");
    });
    running.lost_none(&outcomes);
}

#[test]
fn what_stays_keeps_its_connections() {
    let (one, other) = (Upstream::new(), Upstream::new());
    let keys = |routes: &str| format!("upstream = [{:?}]\nhealth.every = \"1h\"\n{routes}", one.url());
    let project = Project::new(TIERCE, "", &keys(""));
    let running = project.up(&[]);
    let mut client = running.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut caller = one.accept();
    caller.answer(OK);
    assert_eq!(client.response().unwrap().text(), "ok");
    project.write("tierce.toml", &project.config(&keys(&route("/other", &other.url(), ""))));
    project.ok(&["reload"]);
    client.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(caller.answer(OTHER).starts_with("GET /again "), "it comes over the same connection");
    assert_eq!(client.response().unwrap().text(), "other");
}

#[test]
fn what_no_route_takes_is_told_so() {
    let upstream = Upstream::new();
    let keys = format!("[[route]]\nhost = \"a.example.org\"\nupstream = [{:?}]", upstream.url());
    upstream.answer_all(OK);
    let project = Project::new(TIERCE, "", &keys);
    for command in ["edge", "up"] {
        let mut running = project.start(project.command(&[command, "--access-log", "json"]));
        let mut client = running.client();
        says(&client.get("/").unwrap(), 404, "no_route");
        client.send("GET / HTTP/1.1\r\nHost: A.example.org\r\n\r\n").unwrap();
        assert_eq!(client.response().unwrap().text(), "ok");
        wait_for("its line", || running.out().contains("\"tierce.ending\":\"no_route\""));
        assert_eq!(running.ps()["apps"][0]["name"], "a-example-org");
        // An application needs another start.
        project.write("app.py", APP);
        project.write("tierce.toml", &project.config(&format!("app = \"app:app\"\n{keys}")));
        assert_eq!(project.run(&["reload"]).code, 78);
        project.write("app.py", "");
        project.write("tierce.toml", &project.config(&keys));
        project.ok(&["check"]);
        running.signal("TERM");
        assert_eq!(running.wait(), Some(0));
    }
}

#[test]
fn an_edge_may_answer_all_by_itself() {
    let project = Project::new(
        TIERCE,
        "",
        "static = { \"/files\" = \"files\" }\n[[route]]\npath = \"/old\"\nredirect = \"/new\"",
    );
    project.write("files/a.txt", "a");
    let running = project.start(project.command(&["edge"]));
    let mut client = running.client();
    assert_eq!(client.get("/files/a.txt").unwrap().text(), "a");
    assert_eq!(client.get("/old").unwrap().status, 302);
    says(&client.get("/other").unwrap(), 404, "no_route");
    project.ok(&["reload"]);
    assert_eq!(client.get("/files/a.txt").unwrap().text(), "a");
    // Without any of it there is nothing to be done.
    project.write("tierce.toml", &project.config(""));
    let refused = project.run(&["edge"]);
    assert_eq!((refused.code, refused.err.contains("there is no upstream")), (2, true), "{}", refused.err);
}

#[test]
fn upstreams_of_all_services_are_found_by_their_names() {
    let (shared, other) = (Upstream::new(), Upstream::new());
    let (url, twin, lone) = (shared.url(), format!("127.0.0.1:{}", shared.port), format!("127.0.0.1:{}", other.port));
    let keys = format!(
        "app = \"app:app\"\nworkers = 1\n{}{}{}",
        route("/a", &url, ""),
        route("/b", &url, ""),
        route("/c", &other.url(), "")
    );
    shared.answer_all(OK);
    other.answer_all(OTHER);
    let project = Project::new(TIERCE, APP, &keys);
    let running = project.up(&[]);
    project.ok(&["drain", &lone]);
    project.ok(&["weight", "web.1", "7"]);
    let ambiguous = project.run(&["drain", &twin]);
    assert_eq!((ambiguous.code, ambiguous.err.contains("of 2 services")), (2, true), "{}", ambiguous.err);
    project.ok(&["drain", &format!("b/{twin}")]);
    let unknown = project.run(&["drain", "x"]).err;
    assert!(unknown.contains(&format!("web.1, a/{twin}, b/{twin}, c/{lone}")), "{unknown}");
    let ps = running.ps();
    let drained: Vec<_> = ps["items"].as_array().unwrap().iter().map(|item| item["drained"] == true).collect();
    assert_eq!(drained, [false, false, true, true], "{ps}");
    assert!(project.ok(&["ps"]).out.contains(&format!("b/{twin} gets no requests until")));
    project.ok(&["ready", &format!("b/{twin}")]);
    assert_eq!(running.client().get("/b").unwrap().text(), "ok");
}
