//! What is answered in the application's place, in the form that the client likes.
//!
//! Invariant: it says how the request has ended and by which id it is found, and nothing of what is inside. The page for an
//! application that cannot be loaded is asked for only by requests that a shut gate has sent away.

use http::RequestHead;
use units::{Cause, Ending, RequestId};

use crate::accept::{Accept, Form};

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/problem+json";

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
        if Accept::of(head, input).likes_html() { (HTML, &self.html) } else { (TEXT, &self.text) }
    }
}

/// The type and the text for a request that has ended so; `explained` is one sentence.
pub(crate) fn of_ending(
    form: Form,
    id: RequestId,
    status: u16,
    ending: Ending,
    explained: &str,
) -> (&'static str, String) {
    // All of it is ours, and an id has no character that would have to be escaped anywhere.
    let (reason, cause) = (http::reason_phrase(status), ending.cause.name());
    match form {
        Form::Text => (TEXT, format!("{status} {reason}\n\n{cause}: {explained}\nrequest id: {id}\n")),
        Form::Html => (
            HTML,
            format!(
                "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width\">\n<title>{status} {reason}</title>\n\
                 <style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 15vh auto; max-width: 36em; padding: 0 1em; \
                 color-scheme: light dark }} code {{ color: gray }}</style>\n\
                 <h1>{status} {reason}</h1>\n<p>{}</p>\n<p><code>{cause}</code>, request <code>{id}</code></p>\n</html>\n",
                sentence(explained)
            ),
        ),
        Form::Json => (
            JSON,
            format!(
                "{{\"type\":\"about:blank\",\"title\":\"{reason}\",\"status\":{status},\"detail\":\"{}\",\
                 \"ending\":\"{cause}\",\"request_id\":\"{id}\"}}\n",
                sentence(explained)
            ),
        ),
    }
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

/// The value of `Proxy-Status` (RFC 9209): the error by its registered name, where there is one that means the same.
pub(crate) fn proxy_status(ending: Ending) -> String {
    let cause = ending.cause.name();
    match ending.cause {
        // What its `http_protocol_error` means is a mistake of the application, not of the client.
        Cause::BodyTooLarge | Cause::ClientTimedOut | Cause::HttpProtocolError(_) => {
            format!("tierce; error=http_request_error; details=\"{cause}\"")
        }
        Cause::ResponseTooLarge => format!("tierce; error=http_response_body_size; details=\"{cause}\""),
        Cause::ClientInFlight | Cause::RateLimited => {
            format!("tierce; error=http_request_denied; details=\"{cause}\"")
        }
        _ => format!("tierce; error={cause}"),
    }
}

#[cfg(test)]
mod tests {
    use units::Phase;

    use super::*;

    #[test]
    fn an_ending_is_told_in_each_form() {
        let ending = Ending::new(Cause::QueueTimeout, Phase::Queue);
        let told = |form| of_ending(form, RequestId::new(255), 503, ending, "no worker became free in time.");
        let (kind, text) = told(Form::Text);
        assert_eq!(kind, TEXT);
        assert_eq!(
            text,
            "503 Service Unavailable\n\nqueue_timeout: no worker became free in time.\nrequest id: 00000000000000ff\n"
        );
        let (kind, html) = told(Form::Html);
        assert_eq!(kind, HTML);
        assert!(html.contains("<p>No worker became free in time.</p>") && html.contains("00000000000000ff"), "{html}");
        let (kind, json) = told(Form::Json);
        assert_eq!(kind, JSON);
        assert_eq!(
            json,
            "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"No worker became free \
             in time.\",\"ending\":\"queue_timeout\",\"request_id\":\"00000000000000ff\"}\n"
        );
    }

    #[test]
    fn errors_have_their_registered_names() {
        for (cause, expected) in [
            (Cause::QueueTimeout, "tierce; error=queue_timeout"),
            (Cause::HttpResponseTimeout, "tierce; error=http_response_timeout"),
            (Cause::ResponseTooLarge, "tierce; error=http_response_body_size; details=\"response_too_large\""),
            (Cause::RateLimited, "tierce; error=http_request_denied; details=\"rate_limited\""),
            (Cause::HttpProtocolError(400), "tierce; error=http_request_error; details=\"http_protocol_error\""),
        ] {
            assert_eq!(proxy_status(Ending::new(cause, Phase::AwaitHead)), expected);
        }
    }
}
