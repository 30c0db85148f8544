use proptest::prelude::*;

use super::*;
use crate::{Limits, parse_request};

/// 10.0.0.0/8 and Unix sockets are trusted.
fn trusted(address: Option<IpAddr>) -> bool {
    match address {
        None => true,
        Some(IpAddr::V4(address)) => address.octets()[0] == 10,
        Some(IpAddr::V6(_)) => false,
    }
}

/// The client, its port, scheme and host as they are told by these fields.
fn told(fields: &str) -> (Option<String>, u16, Option<Scheme>, Option<String>) {
    let buffer = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", fields.trim().replace('\n', "\r\n")).into_bytes();
    let mut head = RequestHead::default();
    parse_request(&buffer, &Limits::default(), &mut head).unwrap().unwrap();
    let told = forwarded(&buffer, &head, trusted);
    let client =
        told.client.map(|client| client.address.map_or_else(|| "unix".to_owned(), |address| address.to_string()));
    let host = told.host.map(|host| String::from_utf8_lossy(host.of(&buffer)).into_owned());
    (client, told.client.map_or(0, |client| client.port), told.scheme, host)
}

fn check(fields: &str, client: Option<&str>, port: u16, scheme: Option<Scheme>, host: Option<&str>) {
    assert_eq!(told(fields), (client.map(ToOwned::to_owned), port, scheme, host.map(ToOwned::to_owned)), "{fields}");
}

#[test]
fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
    for (list, client, port) in [
        ("192.0.2.1", Some("192.0.2.1"), 0),
        ("192.0.2.1:81", Some("192.0.2.1"), 81),
        ("6.6.6.6, 192.0.2.1", Some("192.0.2.1"), 0),
        ("6.6.6.6, 192.0.2.1, 10.0.0.1", Some("192.0.2.1"), 0),
        ("6.6.6.6,192.0.2.1 ,\t10.0.0.1,, unix:", Some("192.0.2.1"), 0),
        ("10.0.0.2, 10.0.0.1", Some("10.0.0.2"), 0),
        ("2001:db8::1", Some("2001:db8::1"), 0),
        ("[2001:db8::1]", Some("2001:db8::1"), 0),
        ("[2001:db8::1]:82", Some("2001:db8::1"), 82),
        ("192.0.2.1, ::ffff:10.0.0.1", Some("192.0.2.1"), 0),
        ("::ffff:192.0.2.1", Some("192.0.2.1"), 0),
        ("unix:", Some("unix"), 0),
        // What a client writes has no say, however malformed.
        ("<script>, \", 192.0.2.1", Some("192.0.2.1"), 0),
        // What a trusted proxy would have to have written has.
        ("unknown", None, 0),
        ("192.0.2.1, unknown, 10.0.0.1", None, 0),
        ("192.0.2.1:x", None, 0),
        ("192.0.2.1:99999", None, 0),
        ("192.0.2", None, 0),
        ("[192.0.2.1]", None, 0),
        ("[2001:db8::1]81", None, 0),
        ("example.org", None, 0),
        (",", None, 0),
    ] {
        check(&format!("X-Forwarded-For: {list}"), client, port, None, None);
    }
    check(
        "X-Forwarded-For: 6.6.6.6\nX-Other: 1\nX-Forwarded-For: 192.0.2.1\nx-forwarded-for: 10.0.0.1",
        Some("192.0.2.1"),
        0,
        None,
        None,
    );
}

#[test]
fn scheme_and_host_belong_to_the_address() {
    use Scheme::{Http, Https};
    let client = Some("192.0.2.1");
    for (addresses, schemes, expected) in [
        ("192.0.2.1", "https", Some(Https)),
        ("192.0.2.1", "HTTP", Some(Http)),
        ("192.0.2.1, 10.0.0.1", "https", Some(Https)),
        ("192.0.2.1, 10.0.0.1", "https, http", Some(Https)),
        ("6.6.6.6, 192.0.2.1, 10.0.0.1", "http, https, http", Some(Https)),
        ("6.6.6.6, 192.0.2.1, 10.0.0.1", "https, http", None),
        ("192.0.2.1", "gopher", None),
        ("192.0.2.1", "", None),
    ] {
        check(&format!("X-Forwarded-For: {addresses}\nX-Forwarded-Proto: {schemes}"), client, 0, expected, None);
    }
    check("X-Forwarded-For: 192.0.2.1\nX-Forwarded-Host: a.example:81", client, 0, None, Some("a.example:81"));
    check("X-Forwarded-For: 192.0.2.1\nX-Forwarded-Host: a/b", client, 0, None, None);
    check("X-Forwarded-Proto: https\nX-Forwarded-Host: b", None, 0, Some(Https), Some("b"));
    check("X-Forwarded-For: unknown\nX-Forwarded-Proto: https", None, 0, None, None);
}

#[test]
fn the_standard_field() {
    use Scheme::{Http, Https};
    let client = Some("192.0.2.1");
    for (value, expected) in [
        ("for=192.0.2.1", (client, 0, None, None)),
        ("For=\"192.0.2.1:80\" ; proto=https;by=10.0.0.1;host=\"a:81\"", (client, 80, Some(Https), Some("a:81"))),
        ("for=\"[2001:db8::1]:_x\"", (Some("2001:db8::1"), 0, None, None)),
        ("for=6.6.6.6;proto=https, for=192.0.2.1;proto=http", (client, 0, Some(Http), None)),
        ("for=192.0.2.1;proto=https;host=a, for=10.0.0.1;proto=http;host=b", (client, 0, Some(Https), Some("a"))),
        ("for=6.6.6.6;x=\"a,b\\\";c\", for=192.0.2.1;x=\"a,b\\\";c\"", (client, 0, None, None)),
        ("for=\", for=192.0.2.1", (client, 0, None, None)),
        ("for=\"6.6.6.6\", x, for=192.0.2.1", (client, 0, None, None)),
        ("for=10.0.0.1", (Some("10.0.0.1"), 0, None, None)),
        ("for=unknown", (None, 0, None, None)),
        ("for=_hidden;proto=https", (None, 0, None, None)),
        ("proto=https", (None, 0, None, None)),
        ("for", (None, 0, None, None)),
        ("for=\"192.0.2.1", (None, 0, None, None)),
    ] {
        let (client, port, scheme, host) = expected;
        check(&format!("Forwarded: {value}"), client, port, scheme, host);
    }
    check("Forwarded: for=6.6.6.6\nX-Forwarded-For: 192.0.2.1", client, 0, None, None);
    check("X-Real-IP: 6.6.6.6", None, 0, None, None);
}

proptest! {
    #[test]
    fn nothing_before_a_proxys_word_has_a_say(before in "[ -~]{0,60}", standard in any::<bool>()) {
        let fields = match standard {
            true => format!("Forwarded: {before}, for=192.0.2.1;proto=https"),
            false => format!("X-Forwarded-For: {before}, 192.0.2.1"),
        };
        let (client, ..) = told(&fields);
        prop_assert_eq!(client.as_deref(), Some("192.0.2.1"));
    }
}
