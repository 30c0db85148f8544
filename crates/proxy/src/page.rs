//! The page that is the answer to everything while the application cannot be loaded, in the form that the client likes.
//!
//! Invariant: it is asked for only by requests that a shut gate has sent away; no other knows of it. What it says is not
//! decided here.

use http::RequestHead;

/// One message in two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// For browsers: a whole document that needs nothing else.
    pub html: String,
    /// For clients that do not accept HTML.
    pub text: String,
}

impl Page {
    /// The type and the text for a client.
    pub(crate) fn of_choice(&self, head: Option<&RequestHead>, input: &[u8]) -> (&'static str, &str) {
        let fields = head.iter().flat_map(|head| &head.fields);
        let accepts = fields.filter(|field| field.name.of(input).eq_ignore_ascii_case(b"accept"));
        if likes_html(accepts.map(|field| field.value.of(input))) {
            ("text/html; charset=utf-8", &self.html)
        } else {
            ("text/plain; charset=utf-8", &self.text)
        }
    }
}

/// How much a client likes a type, and how closely it has named it (RFC 9110 §12.5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Liking {
    quality: f32,
    named: u8,
}

/// Whether HTML is as good as plain text, or better. Whoever says nothing takes anything.
fn likes_html<'a>(accepts: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut html, mut plain) = (Liking::default(), Liking::default());
    let mut says_nothing = true;
    for range in accepts.flat_map(|value| value.split(|byte| *byte == b',')) {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        says_nothing &= kind.is_empty();
        let quality =
            parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q="))).map_or(1.0, quality);
        for (liking, name) in [(&mut html, b"text/html".as_slice()), (&mut plain, b"text/plain")] {
            let named = match kind.as_slice() {
                b"*/*" => 1,
                b"text/*" => 2,
                kind if kind == name => 3,
                _ => continue,
            };
            // The closest range counts, whichever stands first.
            if liking.named < named {
                *liking = Liking { quality, named };
            }
        }
    }
    says_nothing || (0.0 < html.quality && plain <= html)
}

/// What is no number from 0 to 1 is not liked.
fn quality(text: &[u8]) -> f32 {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|quality| (0.0..=1.0).contains(quality)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_programs_that_do_not_want_it_get_text() {
        for (accept, html) in [
            (&[][..], true),
            (&[""], true),
            (&["*/*"], true),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], true),
            (&["application/json", "text/html;q=0.1"], true),
            (&["TEXT/HTML"], true),
            (&["text/*"], true),
            (&["application/json"], false),
            (&["application/json, text/plain, */*"], false),
            (&["text/plain"], false),
            (&["text/html;q=0.5, text/plain"], false),
            (&["*/*, text/html;q=0"], false),
            (&["text/html; q=0.000"], false),
            (&["text/html;level=1;q=0.7, text/plain;q=0.3"], true),
            (&["image/png"], false),
        ] {
            assert_eq!(likes_html(accept.iter().map(|value| value.as_bytes())), html, "{accept:?}");
        }
    }
}
