//! The page that a browser shows while the application cannot be loaded.
//!
//! Invariant: everything that is not ours is escaped, and the page needs nothing from anywhere else.

use std::path::Path;

use proxy::Page;

use crate::{failure::Failure, traceback};

const STYLE: &str = include_str!("page.css");

/// The page for a failure. `changed` says after which change it came.
pub(crate) fn page(failure: &Failure, changed: Option<&str>, project: &Path) -> Page {
    let next = match changed {
        Some(changed) => format!("{changed} changed. It is loaded again by itself when it is saved again."),
        None => "It is loaded again by itself when a file is saved.".to_owned(),
    };
    Page { html: html(failure, &next, project), text: text(failure, &next) }
}

fn text(failure: &Failure, next: &str) -> String {
    let place = failure.spot.as_ref().map_or_else(String::new, |spot| format!("{}\n", spot.name));
    format!("{}\n{place}\n{}\n\n{next}\n", failure.cause.trim_end(), failure.text.trim_end())
}

fn html(failure: &Failure, next: &str, project: &Path) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n",
    );
    let first = failure.cause.lines().next().unwrap_or_default();
    page.push_str(&format!("<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n", escape(first)));
    if failure.what != failure.cause {
        page.push_str(&format!("<p class=\"what\">{}</p>\n", escape(&failure.what)));
    }
    page.push_str(&format!("<h1>{}</h1>\n", escape(failure.cause.trim_end())));
    if let Some(spot) = &failure.spot {
        page.push_str(&format!("<section class=\"spot\">\n<h2>{}</h2>\n", escape(&spot.name)));
        if !spot.excerpt.is_empty() {
            page.push_str(&format!("<pre>{}</pre>\n", escape(&spot.excerpt)));
        }
        page.push_str("</section>\n");
    }
    page.push_str(&format!("<p class=\"next\">{} Then reload this page.</p>\n", escape(next)));
    if let Some(hint) = &failure.hint {
        page.push_str(&format!("<p class=\"hint\">{}</p>\n", escape(hint)));
    }
    if !failure.detail.trim().is_empty() {
        page.push_str(&format!("<pre class=\"detail\">{}</pre>\n", detail(&failure.detail, project)));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The lines of a traceback, those of the project's own code marked.
fn detail(detail: &str, project: &Path) -> String {
    let mut own = false;
    let mut lines = Vec::new();
    for line in detail.trim_end().lines() {
        // A frame goes on as long as its lines are indented further.
        own = traceback::own_place(line, project).is_some() || (own && line.starts_with("    "));
        let escaped = escape(line);
        lines.push(if own { format!("<b>{escaped}</b>") } else { escaped });
    }
    lines.join("\n")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What a terminal would act on has no place in a document.
            control if control.is_control() && !matches!(control, '\n' | '\t') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use supervise::Explanation;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn what_is_not_ours_is_escaped_wherever_it_stands() {
        let evil = "<script>alert('&\"')</script>\x1b[31m";
        let frame = format!("  File \"/p/{evil}.py\", line 1, in f\n    {evil}\n");
        let explanation = Explanation::new(evil).cause(format!("Error: {evil}")).detail(frame).hint(evil);
        let failure = Failure::of_explanation(&explanation, Path::new("/p"), Exit::CONFIG);
        let Page { html, text } = page(&failure, Some(evil), Path::new("/p"));
        assert!(!html.contains("<script") && !html.contains('\x1b'), "{html}");
        let escaped = "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;";
        // Title, what, heading, spot and its excerpt, what is next, hint, and twice in the traceback.
        assert_eq!(html.matches(escaped).count(), 9, "{html}");
        assert!(text.contains(evil), "a text has nothing to escape");
    }

    #[test]
    fn the_projects_own_frames_are_marked() {
        let text = "Traceback:\n  File \"/p/app.py\", line 1, in <module>\n    import x\n  File \"/usr/x.py\", line 2, in f\n    y\nE";
        let marked = detail(text, Path::new("/p"));
        let expected = "Traceback:\n<b>  File &quot;/p/app.py&quot;, line 1, in &lt;module&gt;</b>\n<b>    import x</b>\n  File &quot;/usr/x.py&quot;, line 2, in f\n    y\nE";
        assert_eq!(marked, expected);
    }
}
