use serde_json::{Value, json};

use super::*;

/// What an engine would say of a container of the project `p`.
struct Story {
    containers: Containers,
    scope: Scope,
}

fn facts(id: &str, started: &str, more: &Value) -> Container {
    let mut whole = json!({
        "Id": id, "Name": format!("/p_web_{id}"),
        "State": { "Status": "running", "Running": true, "StartedAt": started },
        "Config": {
            "Labels": { "com.docker.compose.project": "p", "com.docker.compose.service": "web" },
            "ExposedPorts": { "9000/tcp": {}, "8080/tcp": {}, "53/udp": {} },
        },
        "NetworkSettings": { "Networks": { "p_default": { "NetworkID": "n", "IPAddress": format!("10.0.0.{id}") } } },
    });
    merge(&mut whole, more);
    serde_json::from_value(whole).unwrap()
}

fn merge(to: &mut Value, more: &Value) {
    match (to, more) {
        (Value::Object(to), Value::Object(more)) => {
            more.iter().for_each(|(key, value)| merge(to.entry(key).or_insert(Value::Null), value));
        }
        (to, more) => *to = more.clone(),
    }
}

impl Story {
    /// Containers 1 to `count` run since `t1`.
    fn of(count: u32) -> Self {
        let mut story = Self { containers: Containers::default(), scope: Scope::of(None, Some("p")) };
        (1..=count).for_each(|id| story.inspect(&id.to_string(), "t1", &json!({})));
        story
    }

    fn inspect(&mut self, id: &str, started: &str, more: &Value) {
        self.containers.inspected(id, Some(facts(id, started, more)));
    }

    fn event(&mut self, id: &str, action: &str, attributes: &Value) -> Heard {
        let event = json!({ "Type": "container", "Action": action, "Actor": { "ID": id, "Attributes": attributes } });
        self.containers.heard(&serde_json::from_value(event).unwrap())
    }

    fn kill(&mut self, id: &str, signal: &str) {
        self.event(id, "kill", &json!({ "signal": signal }));
    }

    fn takes(&self) -> Vec<String> {
        let (endpoints, _) = self.containers.endpoints(&self.scope);
        endpoints.into_iter().map(|endpoint| endpoint.id).collect()
    }

    fn notes(&self) -> String {
        self.containers.endpoints(&self.scope).1.into_iter().collect::<Vec<_>>().join("\n")
    }
}

const STOPPED: &str = "exited";

fn stopped() -> Value {
    json!({ "State": { "Status": STOPPED, "Running": false } })
}

#[test]
fn the_lowest_exposed_port_unless_told() {
    let mut story = Story::of(1);
    let port = |story: &Story| story.containers.endpoints(&story.scope).0[0].port;
    assert_eq!(port(&story), 8080);
    story.inspect("1", "t1", &json!({ "Config": { "Env": ["A=1", "VIRTUAL_PORT=9000"] } }));
    assert_eq!(port(&story), 9000);
    story.inspect("1", "t1", &json!({ "Config": { "Labels": { "tierce.port": "81" } } }));
    assert_eq!(port(&story), 81);
    story.inspect("1", "t1", &json!({ "Config": { "Labels": { "tierce.port": "http" } } }));
    assert_eq!(story.notes(), "p_web_1 gets no requests: its port is \"http\"; expected a number from 1 to 65535");
}

#[test]
fn a_stop_is_believed_before_any_inspection() {
    let mut story = Story::of(2);
    story.kill("1", "15");
    assert_eq!(story.takes(), ["2"]);
    // It still runs, and is said to.
    story.inspect("1", "t1", &json!({}));
    assert_eq!(story.takes(), ["2"]);
    assert_eq!(story.notes(), "p_web_1 gets no requests: it was told to stop");
    story.event("1", "die", &json!({ "exitCode": "0" }));
    story.inspect("1", "t1", &stopped());
    story.event("1", "stop", &json!({}));
    assert_eq!(story.takes(), ["2"]);
}

#[test]
fn signals_that_do_not_stop() {
    let mut story = Story::of(1);
    for signal in ["1", "10", "12", "28"] {
        story.kill("1", signal);
        assert_eq!(story.takes(), ["1"], "{signal}");
    }
    // With a stop signal of its own, that one does and SIGTERM does not.
    for (own, other, end) in [("SIGUSR1", "15", "10"), ("12", "10", "12"), ("QUIT", "15", "3"), ("SIGINT", "15", "9")] {
        let mut story = Story::of(0);
        story.inspect("1", "t1", &json!({ "Config": { "StopSignal": own } }));
        story.kill("1", other);
        assert_eq!(story.takes(), ["1"], "{own}");
        story.kill("1", end);
        assert!(story.takes().is_empty(), "{own}");
    }
}

#[test]
fn a_restart_is_another_run() {
    let mut story = Story::of(1);
    story.kill("1", "15");
    story.event("1", "die", &json!({}));
    story.event("1", "start", &json!({}));
    assert!(story.takes().is_empty());
    story.inspect("1", "t2", &json!({}));
    assert_eq!(story.takes(), ["1"]);
}

#[test]
fn a_crash_is_not_undone_by_an_inspection_that_was_under_way() {
    let mut story = Story::of(1);
    story.event("1", "die", &json!({ "exitCode": "1" }));
    assert!(story.takes().is_empty());
    story.inspect("1", "t1", &json!({}));
    assert!(story.takes().is_empty());
    for run in ["t2", "t3", "t4"] {
        story.event("1", "start", &json!({}));
        story.inspect("1", run, &json!({}));
        assert_eq!(story.takes(), ["1"]);
        story.event("1", "die", &json!({}));
        assert!(story.takes().is_empty());
    }
}

#[test]
fn one_that_is_stopped_before_it_was_looked_at() {
    let mut story = Story::of(0);
    story.event("1", "start", &json!({}));
    story.kill("1", "15");
    story.inspect("1", "t1", &json!({}));
    assert!(story.takes().is_empty());
}

#[test]
fn a_healthcheck_is_waited_for_and_respected() {
    let mut story = Story::of(0);
    for (status, takes) in
        [("starting", 0), ("healthy", 1), ("unhealthy", 0), ("healthy", 1), ("new word", 0), ("none", 1)]
    {
        assert_eq!(story.event("1", &format!("health_status: {status}"), &json!({})), Heard::Inspect("1".to_owned()));
        story.inspect("1", "t1", &json!({ "State": { "Health": { "Status": status } } }));
        assert_eq!(story.takes().len(), takes, "{status}");
    }
}

#[test]
fn paused_ones_rest() {
    let mut story = Story::of(1);
    story.inspect("1", "t1", &json!({ "State": { "Paused": true, "Status": "paused" } }));
    assert!(story.takes().is_empty());
    story.inspect("1", "t1", &json!({}));
    assert_eq!(story.takes(), ["1"]);
}

#[test]
fn an_address_belongs_to_whoever_has_started_last() {
    let mut story = Story::of(1);
    let same = json!({ "NetworkSettings": { "Networks": { "p_default": { "IPAddress": "10.0.0.1" } } } });
    story.inspect("2", "t2", &same);
    assert_eq!(story.takes(), ["2"]);
    story.inspect("1", "t1", &json!({}));
    assert_eq!(story.takes(), ["2"]);
}

#[test]
fn compose_1_disconnects_what_has_not_started() {
    let mut story = Story::of(1);
    let event = json!({ "Type": "network", "Action": "disconnect", "Actor": { "ID": "n", "Attributes": { "container": "9" } } });
    let heard = story.containers.heard(&serde_json::from_value(event).unwrap());
    assert_eq!(heard, Heard::Inspect("9".to_owned()));
    story.inspect("9", "0001-01-01T00:00:00Z", &stopped());
    story.inspect("9", "t3", &json!({}));
    assert_eq!(story.takes(), ["1", "9"]);
}

#[test]
fn a_list_tells_what_events_have_not() {
    let mut story = Story::of(3);
    story.containers.listed(&["2".to_owned()].into());
    assert_eq!(story.takes(), ["2"]);
    story.event("2", "destroy", &json!({}));
    assert!(story.takes().is_empty());
}

#[test]
fn which_are_meant() {
    let mut story = Story::of(1);
    let label = |name: &str, value: &str| json!({ "Config": { "Labels": { name: value } } });
    for (labels, takes) in [
        (label("com.docker.compose.project", "other"), 0),
        (label("com.docker.compose.oneoff", "True"), 0),
        (label("com.docker.compose.oneoff", "False"), 1),
        (label("tierce.enable", "false"), 0),
    ] {
        story.inspect("1", "t1", &labels);
        assert_eq!(story.takes().len(), takes, "{labels}");
    }
    // The edge itself, in its own project, and who shares a network with it.
    let own = facts("7", "t0", &label("com.docker.compose.service", "lb"));
    story.scope = Scope::of(Some(&own), None);
    story.inspect("7", "t0", &label("com.docker.compose.service", "lb"));
    story.inspect("1", "t1", &json!({}));
    assert_eq!(story.takes(), ["1"]);
    story.inspect("1", "t1", &json!({ "NetworkSettings": { "Networks": { "p_default": { "NetworkID": "m" } } } }));
    assert!(story.notes().contains("shares no network with the edge"), "{}", story.notes());
    // On the host without a project: only those that say so.
    story.scope = Scope::of(None, None);
    assert!(story.takes().is_empty());
    story.inspect("1", "t1", &label("tierce.enable", "true"));
    assert_eq!(story.takes(), ["1"]);
}

#[test]
fn several_services_are_not_mixed() {
    let mut story = Story::of(2);
    let api = |enable: &str| json!({ "Config": { "Labels": { "com.docker.compose.service": "api", "tierce.enable": enable, "tierce.prot": "1" } } });
    story.inspect("2", "t1", &api("true"));
    assert!(story.takes().is_empty());
    assert!(story.notes().contains("several services expose a TCP port (api, web)"), "{}", story.notes());
    assert!(story.notes().contains("p_web_2: the label tierce.prot is not known"), "{}", story.notes());
    story.inspect("2", "t1", &api("false"));
    assert_eq!(story.takes(), ["1"]);
}
