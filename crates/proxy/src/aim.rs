//! What the application is told of the target: as it came, without the path at which a route mounts it, or with another in its place.

use std::{borrow::Cow, ops::Range};

use config::{Action, Mounting};
use http::{RequestHead, Span};

use crate::route::Route;

/// A target, and where path and query are in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Aim<'a> {
    pub(crate) target: Cow<'a, [u8]>,
    pub(crate) path: Range<u16>,
    pub(crate) query: Range<u16>,
    /// `SCRIPT_NAME`, where the route decides it.
    pub(crate) script: Option<&'a str>,
}

impl Aim<'_> {
    /// No route has a say, so that of a gateway in front counts: its `SCRIPT_NAME` and `PATH_INFO`.
    pub(crate) fn is_as_it_came(&self) -> bool {
        self.script.is_none() && matches!(self.target, Cow::Borrowed(_))
    }
}

pub(crate) fn aim<'a>(route: Option<&'a Route>, head: &RequestHead, input: &'a [u8]) -> Aim<'a> {
    let path = head.path.of(input);
    let rest = |route: &Route| &path[route.taken(path)..];
    match route.map(|route| (route, &route.rule.action)) {
        Some((route, Action::App(Mounting::Stripped))) => {
            let script = Some(if route.rule.path == "/" { "" } else { route.rule.path.as_str() });
            match rest(route) {
                // An escaped slash behind the route's path: it is a part of what is left, which begins with a slash of its own.
                rest if !rest.is_empty() && !rest.starts_with(b"/") => Aim { script, ..anew("/", rest, head, input) },
                rest => {
                    let mut aim = as_it_came(head, input);
                    aim.path.start = aim.path.end - short(rest.len());
                    Aim { script, ..aim }
                }
            }
        }
        Some((route, Action::App(Mounting::Rewritten(path)))) => match rest(route) {
            rest if rest.starts_with(b"/") && path == "/" => anew("", rest, head, input),
            rest => anew(path, rest, head, input),
        },
        _ => as_it_came(head, input),
    }
}

fn as_it_came<'a>(head: &RequestHead, input: &'a [u8]) -> Aim<'a> {
    let within = |span: Span| -> Range<u16> {
        let start = span.start.saturating_sub(head.target.start) as usize;
        if span.is_empty() { 0..0 } else { short(start)..short(start + span.len()) }
    };
    Aim {
        target: Cow::Borrowed(head.target.of(input)),
        path: within(head.path),
        query: within(head.query),
        script: None,
    }
}

fn anew<'a>(start: &str, rest: &[u8], head: &RequestHead, input: &[u8]) -> Aim<'a> {
    let query = head.query.of(input);
    let mut target = [start.as_bytes(), rest].concat();
    let path = 0..short(target.len());
    if query.is_empty() {
        return Aim { target: Cow::Owned(target), path, query: 0..0, script: None };
    }
    target.push(b'?');
    let begin = short(target.len());
    target.extend_from_slice(query);
    let query = begin..short(target.len());
    Aim { target: Cow::Owned(target), path, query, script: None }
}

fn short(at: usize) -> u16 {
    u16::try_from(at).expect("a target and a route's path are limited to less than 64 KiB together")
}

#[cfg(test)]
mod tests {
    use http::{Limits, parse_request};

    use super::*;
    use crate::route::tests::{rule, table};

    #[test]
    fn paths_are_told_as_the_route_has_it() {
        let stripped = || Mounting::Stripped;
        let rewritten = |path: &str| Mounting::Rewritten(path.to_owned());
        for (path, mounting, target, expected) in [
            ("/", Mounting::Whole, "/a?b", ("/a?b", "/a", "b", None)),
            ("/a", Mounting::Whole, "/a", ("/a", "/a", "", None)),
            ("/a", stripped(), "/a/b?c", ("/a/b?c", "/b", "c", Some("/a"))),
            ("/a", stripped(), "/a", ("/a", "", "", Some("/a"))),
            ("/a", stripped(), "/a/", ("/a/", "/", "", Some("/a"))),
            ("/a", stripped(), "//%61//b", ("//%61//b", "//b", "", Some("/a"))),
            ("/a", stripped(), "/a%2Fb?c", ("/%2Fb?c", "/%2Fb", "c", Some("/a"))),
            ("/a", stripped(), "http://h/a/b?c", ("http://h/a/b?c", "/b", "c", Some("/a"))),
            ("/", stripped(), "/a", ("/a", "/a", "", Some(""))),
            ("/a", rewritten("/x/y"), "/a/b?c", ("/x/y/b?c", "/x/y/b", "c", None)),
            ("/a", rewritten("/x"), "/a?c", ("/x?c", "/x", "c", None)),
            ("/a", rewritten("/"), "/a/b", ("/b", "/b", "", None)),
            ("/a", rewritten("/"), "/a", ("/", "/", "", None)),
            ("/", rewritten("/x"), "/b", ("/x/b", "/x/b", "", None)),
        ] {
            let input = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes();
            let mut head = RequestHead::default();
            parse_request(&input, &Limits::default(), &mut head).unwrap().unwrap();
            let routes = table(vec![config::Route { action: Action::App(mounting), ..rule("", path, &[]) }]);
            let route = routes.find(crate::route::Asked { head: &head, input: &input, host: b"h" });
            let aim = aim(route, &head, &input);
            let part = |range: &Range<u16>| {
                std::str::from_utf8(&aim.target[usize::from(range.start)..usize::from(range.end)]).unwrap().to_owned()
            };
            let got = (std::str::from_utf8(&aim.target).unwrap(), part(&aim.path), part(&aim.query), aim.script);
            let (target, path, query, script) = expected;
            assert_eq!(got, (target, path.to_owned(), query.to_owned(), script), "{target}");
        }
    }
}
