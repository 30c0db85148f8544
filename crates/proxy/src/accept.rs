//! In which form a client likes what we have to say (RFC 9110 §12.5.1).
//!
//! Invariant: a form is sent only to a client that has named it, but for text, which everybody can read.

use http::RequestHead;

/// The forms that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For terminals, and whoever says nothing.
    Text,
    /// For browsers.
    Html,
    /// For programs (RFC 9457).
    Json,
}

/// How much a client likes a type, and how closely it has named it.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
struct Liking {
    quality: f32,
    named: u8,
}

/// `*/*`, `text/*` and `text/html` name a type ever more closely.
const BY_KIND: u8 = 2;
const BY_NAME: u8 = 3;

/// What a client has said of the forms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept {
    html: Liking,
    plain: Liking,
    json: Liking,
    says_nothing: bool,
}

impl Accept {
    /// `head` is `None` when it could not be read.
    pub(crate) fn of(head: Option<&RequestHead>, input: &[u8]) -> Self {
        let fields = head.iter().flat_map(|head| &head.fields);
        let accepts = fields.filter(|field| field.name.of(input).eq_ignore_ascii_case(b"accept"));
        Self::read(accepts.map(|field| field.value.of(input)))
    }

    fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let none = Liking::default();
        let (mut html, mut plain, mut json, mut problem) = (none, none, none, none);
        let mut says_nothing = true;
        for range in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            says_nothing &= kind.is_empty();
            let quality = parts
                .find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")))
                .map_or(1.0, quality);
            for (liking, family, name) in [
                (&mut html, &b"text/*"[..], &b"text/html"[..]),
                (&mut plain, b"text/*", b"text/plain"),
                (&mut json, b"application/*", b"application/json"),
                (&mut problem, b"application/*", b"application/problem+json"),
            ] {
                let named = match kind.as_slice() {
                    b"*/*" => 1,
                    kind if kind == family => BY_KIND,
                    kind if kind == name => BY_NAME,
                    _ => continue,
                };
                // The closest range counts, whichever stands first.
                if liking.named < named {
                    *liking = Liking { quality, named };
                }
            }
        }
        // Who wants the one understands the other.
        let json = if json.named < problem.named || json.quality < problem.quality { problem } else { json };
        Self { html, plain, json, says_nothing }
    }

    /// Whether HTML is as good as plain text, or better. Whoever says nothing takes anything.
    pub(crate) fn likes_html(&self) -> bool {
        self.says_nothing || (0.0 < self.html.quality && self.plain <= self.html)
    }

    /// The form that is liked best among those that are named; of equals HTML before JSON before text.
    pub(crate) fn form(&self) -> Form {
        let named = |liking: &Liking, least: u8| if least <= liking.named { liking.quality } else { 0.0 };
        let (html, json) = (named(&self.html, BY_NAME), named(&self.json, BY_KIND));
        let plain = named(&self.plain, BY_NAME);
        match () {
            () if 0.0 < html && json <= html && plain <= html => Form::Html,
            () if 0.0 < json && plain <= json => Form::Json,
            () => Form::Text,
        }
    }
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
    fn clients_get_what_they_like() {
        use Form::{Html, Json, Text};
        for (accept, html, form) in [
            (&[][..], true, Text),
            (&[""], true, Text),
            (&["*/*"], true, Text),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], true, Html),
            (&["application/json", "text/html;q=0.1"], true, Json),
            (&["TEXT/HTML"], true, Html),
            (&["text/*"], true, Text),
            (&["application/json"], false, Json),
            (&["application/problem+json"], false, Json),
            (&["application/json;q=0, application/problem+json"], false, Json),
            (&["application/*;q=0.5"], false, Json),
            (&["application/json, text/plain, */*"], false, Json),
            (&["application/json;q=0"], false, Text),
            (&["text/html, application/json"], true, Html),
            (&["text/html;q=0.8, application/json"], true, Json),
            (&["text/plain"], false, Text),
            (&["text/html;q=0.5, text/plain"], false, Text),
            (&["*/*, text/html;q=0"], false, Text),
            (&["text/html; q=0.000"], false, Text),
            (&["text/html;level=1;q=0.7, text/plain;q=0.3"], true, Html),
            (&["image/png"], false, Text),
        ] {
            let read = Accept::read(accept.iter().map(|value| value.as_bytes()));
            assert_eq!((read.likes_html(), read.form()), (html, form), "{accept:?}");
        }
    }
}
