//! Where a redirect leads: a URL or a path with places for parts of the request.

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is written.
    Text(String),
    /// `{host}`: the host that was asked for, with its port if it has one.
    Host,
    /// `{uri}`: the path and the query as they came.
    Uri,
    /// `{rest}`: what follows the route's path, query included.
    Rest,
}

/// Reads it; or says what is wrong, and what to do.
pub(crate) fn parse(text: &str) -> Result<Vec<Piece>, (String, Option<String>)> {
    const PLACES: &str = "places are {host}, {uri} (path and query) and {rest} (what follows the route's path)";
    let refuse = |what: String| Err((what, Some(PLACES.to_owned())));
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, behind)) = after.split_once('}') else {
            return refuse(format!("{text:?} has a `{{` without `}}`"));
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(match name {
            "host" => Piece::Host,
            "uri" => Piece::Uri,
            "rest" => Piece::Rest,
            _ => return refuse(format!("{{{name}}} is not known")),
        });
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refuse(format!("{text:?} is no URL: spaces and other letters have to be escaped"));
    }
    // A path that begins with what a client chose could be another host: `//evil.example`.
    match &pieces[..] {
        [Piece::Text(start), ..] if start.contains("://") && start.len() > start.find("://").unwrap_or(0) + 3 => {
            Ok(pieces)
        }
        [Piece::Text(start), Piece::Host, ..] if start.ends_with("://") => Ok(pieces),
        [Piece::Text(start), ..] if start.starts_with('/') && start != "/" && !start.starts_with("//") => Ok(pieces),
        [Piece::Text(start)] if start == "/" => Ok(pieces),
        _ => refuse(format!(
            "{text:?} leads nowhere: write a URL like \"https://{{host}}{{uri}}\", or a path like \"/new{{rest}}\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_leads() {
        let text = |text: &str| Piece::Text(text.to_owned());
        for (given, expected) in [
            ("/", vec![text("/")]),
            ("/new", vec![text("/new")]),
            ("/new{rest}", vec![text("/new"), Piece::Rest]),
            ("https://{host}{uri}", vec![text("https://"), Piece::Host, Piece::Uri]),
            ("https://example.org", vec![text("https://example.org")]),
            ("https://example.org{rest}", vec![text("https://example.org"), Piece::Rest]),
        ] {
            assert_eq!(parse(given), Ok(expected), "{given}");
        }
        for given in
            ["", "new", "{uri}", "/{rest}", "//evil", "https://", "https://{rest}", "/a{b}", "/a{", "/a b", "/ä"]
        {
            assert!(parse(given).is_err(), "{given}");
        }
    }
}
