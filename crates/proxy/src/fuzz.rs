//! What holds of the parsers of fields that are here, and of those of `units`, whatever the bytes are. The fuzz target calls
//! this, and so does a test, with inputs that are nearly right.

use http::{Limits, RequestHead, parse_request};
use units::{RequestId, TraceContext};

use crate::{accept::Accept, credentials::given};

/// The value of a field: a trace, an id, credentials, types that are accepted.
pub fn value(input: &[u8]) {
    if let Some(context) = TraceContext::parse(input) {
        assert_eq!(TraceContext::parse(context.as_bytes()), Some(context));
    }
    if let Some(id) = RequestId::parse(input) {
        assert_eq!(id.as_bytes(), input);
    }
    for name in ["Accept", "Authorization"] {
        let text = [format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: ").as_bytes(), input, b"\r\n\r\n"].concat();
        let mut head = RequestHead::default();
        if let Ok(Some(_)) = parse_request(&text, &Limits::default(), &mut head) {
            Accept::of(Some(&head), &text).form();
            assert!(given(&head, &text).is_none_or(|(name, _)| !name.contains(':')));
        }
    }
}

#[cfg(test)]
mod tests {
    use testkit::mutants;

    use super::*;

    #[test]
    fn values() {
        let seeds: [&[u8]; 5] = [
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            b"text/html;q=0.9, application/problem+json, */*;q=0.1",
            b"Basic YW5hOnNlY3JldA==",
            b"an-id_1.2:3",
        ];
        mutants(&seeds, 20_000, value);
    }
}
