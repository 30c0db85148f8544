//! What a route makes of a request besides handing it to the application.
//!
//! Invariant: who may not come is told so before anything of the body is read.

use std::rc::Rc;

use config::{Action, Piece};
use units::{Cause, Ending};

use crate::{
    admission,
    body::Upload,
    clients::Who,
    connection::Connection,
    credentials::Verdict,
    files::{self, Place},
    own::{self, Body, Own},
    record::Story,
    request::Request,
};

/// Answers a client that may not come.
pub(crate) async fn guard(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
) -> Result<Option<Ending>, Ending> {
    let Some(route) = request.route else { return Ok(None) };
    let client = request.client(&connection.peer);
    if !route.admits(client) {
        return Ok(Some(own::tell(connection, request, upload, story, (403, "403 Forbidden\n")).await));
    }
    if let Some(rule) = &route.rate {
        admission::count(connection, request, rule, story)?;
    }
    let Some(users) = &route.rule.users else { return Ok(None) };
    let thread = Rc::clone(&connection.thread);
    let who = Who::at(client);
    match thread.credentials.judge(request.head, &connection.input, users, (&thread.clients, who)).await {
        Verdict::Right => Ok(None),
        Verdict::Wrong => {
            const CHALLENGE: &[u8] = b"WWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"\r\n";
            let text = (401, "401 Unauthorized\n");
            Ok(Some(own::tell_with(connection, request, upload, story, text, CHALLENGE).await))
        }
        Verdict::TooOften(wait) => Err(admission::refused(Cause::RateLimited, wait, story)),
    }
}

/// Answers in the application's place if the route, or a file, is the answer.
pub(crate) async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
) -> Result<Option<Ending>, Ending> {
    match request.route.map(|route| (route, &route.rule.action)) {
        Some((_, Action::Redirect { to, status })) => {
            let fields = location(connection, request, to);
            let own = Own { status: *status, fields: &fields, body: Body::Bytes(b"") };
            Ok(Some(own::answer(connection, request, upload, story, own).await))
        }
        Some((_, Action::Respond { status, kind, body })) => {
            let mut fields = Vec::new();
            if !body.is_empty() {
                http::write_field(&mut fields, b"Content-Type", kind.as_bytes());
            }
            let own = Own { status: *status, fields: &fields, body: Body::Bytes(body.as_bytes()) };
            Ok(Some(own::answer(connection, request, upload, story, own).await))
        }
        Some((route, Action::Files { directory, fallback })) => {
            let taken = route.taken(request.head.path.of(&connection.input));
            let place = Place { directory, taken, fallback: fallback.as_deref() };
            Box::pin(files::answer(connection, request, upload, story, place)).await
        }
        Some((_, Action::App(_))) | None => mounted(connection, request, upload, story).await,
    }
}

/// Answers with a file of `static`.
async fn mounted(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
) -> Result<Option<Ending>, Ending> {
    let settings = connection.thread.settings();
    let Some((mount, taken)) = settings.routes.files(request.head.path.of(&connection.input)) else { return Ok(None) };
    let place = Place { directory: &mount.directory, taken, fallback: None };
    Box::pin(files::answer(connection, request, upload, story, place)).await
}

fn location(connection: &Connection, request: &Request<'_>, to: &[Piece]) -> Vec<u8> {
    let (head, input) = (request.head, &connection.input);
    let path = head.path.of(input);
    let mut fields = b"Location: ".to_vec();
    let query = |fields: &mut Vec<u8>| {
        if !head.query.is_empty() {
            fields.push(b'?');
            fields.extend_from_slice(head.query.of(input));
        }
    };
    for piece in to {
        match piece {
            Piece::Text(text) => fields.extend_from_slice(text.as_bytes()),
            Piece::Host => fields.extend_from_slice(request.host(input)),
            Piece::Uri => {
                fields.extend_from_slice(if path.is_empty() { b"/" } else { path });
                query(&mut fields);
            }
            Piece::Rest => {
                let rest = &path[request.route.map_or(0, |route| route.taken(path))..];
                // What follows a URL without a path has to begin one, or it would go on with the host.
                if !rest.is_empty() && !rest.starts_with(b"/") {
                    fields.push(b'/');
                }
                fields.extend_from_slice(rest);
                query(&mut fields);
            }
        }
    }
    fields.extend_from_slice(b"\r\n");
    fields
}
