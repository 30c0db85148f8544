use config::{Action, Mounting};
use http::{Limits, parse_request};
use proptest::prelude::*;

use super::*;

pub(crate) fn rule(host: &str, path: &str, methods: &[&str]) -> config::Route {
    let hosts = match (host, host.strip_prefix('*')) {
        ("", _) => Vec::new(),
        (_, Some(end)) => vec![HostPattern::Below(end.to_owned())],
        (name, None) => vec![HostPattern::Exact(name.to_owned())],
    };
    config::Route {
        hosts,
        path: path.to_owned(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        fields: Vec::new(),
        allow: None,
        deny: config::TrustedProxies::default(),
        users: None,
        rate: config::Own::AsForAll,
        maintenance: config::Own::AsForAll,
        limits: config::RouteLimits::default(),
        compression: None,
        request: config::Edits::default(),
        response: config::Edits::default(),
        service: None,
        action: Action::App(Mounting::Whole),
    }
}

pub(crate) fn table(list: Vec<config::Route>) -> Routes {
    Routes::new(&config::Routes { list, ..config::Routes::default() }, 100, "", &[])
}

/// The number of the route that a request takes.
fn taken(rules: Vec<config::Route>, method: &str, host: &str, path: &str) -> Option<usize> {
    let routes = table(rules);
    let input = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nX-Beta: 1\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&input, &Limits::default(), &mut head).unwrap().unwrap();
    let host = head.host.unwrap().of(&input);
    let found = routes.find(Asked { head: &head, input: &input, host })?;
    routes.list.iter().position(|route| std::ptr::eq(route, found))
}

#[test]
fn hosts_are_compared_without_case_port_and_final_dot() {
    for (pattern, host, fits) in [
        ("example.org", "example.org", true),
        ("example.org", "EXAMPLE.org:8080", true),
        ("example.org", "example.org.", true),
        ("example.org", "example.org.:80", true),
        ("example.org", "a.example.org", false),
        ("example.org", "example.org.evil", false),
        ("*.example.org", "a.example.org", true),
        ("*.example.org", "a.b.Example.org:1", true),
        ("*.example.org", "example.org", false),
        ("*.example.org", "aexample.org", false),
        ("[::1]", "[::1]:80", true),
        ("[::1]", "[::1]", true),
    ] {
        assert_eq!(taken(vec![rule(pattern, "/", &[])], "GET", host, "/").is_some(), fits, "{pattern} {host}");
    }
}

#[test]
fn fields_have_a_value_or_any() {
    for (name, value, fits) in
        [("x-beta", Some("1"), true), ("X-Beta", None, true), ("X-Beta", Some("2"), false), ("X-Gamma", None, false)]
    {
        let fields = vec![(name.to_owned(), value.map(ToOwned::to_owned))];
        let rules = vec![config::Route { fields, ..rule("", "/", &[]) }];
        assert_eq!(taken(rules, "GET", "a", "/").is_some(), fits, "{name} {value:?}");
    }
}

#[test]
fn who_is_denied_is_not_allowed() {
    let list = |texts: &[&str]| {
        let mut list = config::TrustedProxies::default();
        texts.iter().for_each(|text| list.add(text).unwrap());
        list
    };
    let inner = Route::new(
        &config::Route { allow: Some(list(&["10.0.0.0/8"])), deny: list(&["10.0.0.1"]), ..rule("", "/", &[]) },
        1,
    );
    let admits = |text: &str| inner.admits(text.parse().ok());
    assert_eq!(["10.0.0.2", "10.0.0.1", "192.0.2.1", "::1", "unix"].map(admits), [true, false, false, false, false]);
    assert!(Route::new(&rule("", "/", &[]), 1).admits(None));
}

/// What the table does, the long way: everything is decoded and put in order first.
fn naive(rules: &[config::Route], method: &str, path: &str) -> Option<usize> {
    let mut decoded = String::new();
    let mut letters = path.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' {
            let digits: String = letters.by_ref().take(2).collect();
            decoded.push(char::from(u8::from_str_radix(&digits, 16).unwrap()));
        } else {
            decoded.push(letter);
        }
    }
    let segments =
        |text: &str| text.split('/').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect::<Vec<_>>();
    let asked = segments(&decoded);
    let is_before = |rule: &config::Route| asked.starts_with(&segments(&rule.path));
    // A prefix that is followed by nothing but a slash counts as well as one that is followed by a segment.
    rules.iter().position(|rule| {
        is_before(rule) && (rule.methods.is_empty() || rule.methods.iter().any(|known| known == method))
    })
}

proptest! {
    #[test]
    fn the_table_finds_what_a_naive_search_finds(
        paths in proptest::collection::vec(("(/[ab.]{1,2}){0,3}", 0..3_usize), 0..6),
        path in "/(/|%2[fF]|a|b|%61|%62|\\.a){0,8}",
        method in 0..2_usize,
    ) {
        const METHODS: [&[&str]; 3] = [&[], &["GET"], &["POST", "PUT"]];
        let rules: Vec<_> = paths
            .iter()
            .map(|(path, methods)| rule("", if path.is_empty() { "/" } else { path }, METHODS[*methods]))
            .collect();
        let method = ["GET", "PUT"][method];
        prop_assert_eq!(taken(rules.clone(), method, "a", &path), naive(&rules, method, &path), "{} {}", method, path);
    }
}
