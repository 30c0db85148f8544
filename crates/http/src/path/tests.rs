use super::*;

#[test]
fn a_prefix_ends_where_a_segment_does_in_any_spelling() {
    for (path, prefix, taken) in [
        ("/", "/", Some(0)),
        ("", "/", Some(0)),
        ("/a/b", "/", Some(0)),
        ("/a", "/a", Some(2)),
        ("/a/", "/a", Some(2)),
        ("/a/b", "/a", Some(2)),
        ("/ab", "/a", None),
        ("/", "/a", None),
        ("", "/a", None),
        ("/A", "/a", None),
        ("/%61", "/a", Some(4)),
        ("/%61%2fb", "/a", Some(4)),
        ("//a//b", "/a", Some(3)),
        ("/%2f%2Fa", "/a", Some(8)),
        ("%2fa", "/a", Some(4)),
        ("/a%2Fb/c", "/a/b", Some(6)),
        ("/a//b/c", "/a/b", Some(5)),
        ("/a%", "/a%", Some(3)),
        ("/a%2", "/a", None),
        ("/a%25", "/a%", Some(5)),
    ] {
        assert_eq!(path_prefix(path.as_bytes(), prefix.as_bytes()), taken, "{path} {prefix}");
    }
}

#[test]
fn dot_segments_are_found_in_any_spelling() {
    for path in ["/.", "/..", "/a/../b", "/a/./b", "/%2e", "/%2E%2e/a", "/a%2f..%2fb", "/a/.%2e", "//..", "/a//./b"] {
        assert!(has_dot_segments(path.as_bytes()), "{path}");
    }
    for path in
        ["", "/", "/a.b", "/...", "/.a", "/a..", "/..a/b", "/%2ea", "/a/%2e%2e%2e", "/.well-known/x", "/a.", "/%"]
    {
        assert!(!has_dot_segments(path.as_bytes()), "{path}");
    }
}

#[test]
fn what_names_a_file() {
    use Named::{Directory, Plain};
    for (rest, expected) in [
        ("", Some(("", Directory))),
        ("/", Some(("", Directory))),
        ("/a.css", Some(("a.css", Plain))),
        ("/css/a%20b.css", Some(("css/a b.css", Plain))),
        ("/css/", Some(("css/", Directory))),
        ("/.well-known/acme", Some((".well-known/acme", Plain))),
        ("/a%252e", Some(("a%2e", Plain))),
        ("/a\\b", Some(("a\\b", Plain))),
        ("//a", None),
        ("/a//b", None),
        ("/a//", None),
        ("/..", None),
        ("/../a", None),
        ("/%2e%2e/a", None),
        ("/.%2E/a", None),
        ("/a/..", None),
        ("/.", None),
        ("/./a", None),
        ("/.git/config", None),
        ("/a/.env", None),
        ("/a%2fb", None),
        ("/%2Fetc/passwd", None),
        ("/a%00.css", None),
    ] {
        let mut relative = Vec::new();
        let named = relative_path(rest.as_bytes(), &mut relative);
        let got = named.map(|named| (String::from_utf8(relative).unwrap(), named));
        assert_eq!(got, expected.map(|(text, named)| (text.to_owned(), named)), "{rest}");
    }
}
