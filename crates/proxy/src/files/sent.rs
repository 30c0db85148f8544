//! A file that the application names in place of a body: `X-Accel-Redirect` by a path, `X-Sendfile` by a name in the file system.
//!
//! Invariant: nothing but the directories of `internal` is ever sent so, and what the application has written as a body is dropped.

use std::path::PathBuf;

use units::Ending;

use super::{Told, kind, open::Opened, send};
use crate::{body::Upload, connection::Connection, own, record::Story, request::Request, route::Routes};

/// What is not the application's to say of a file, or was said to us only.
const OURS: [&[u8]; 12] = [
    b"x-accel-redirect",
    b"x-accel-buffering",
    b"x-accel-charset",
    b"x-accel-expires",
    b"x-accel-limit-rate",
    b"x-sendfile",
    b"content-length",
    b"accept-ranges",
    b"etag",
    b"last-modified",
    b"x-request-id",
    b"x-served-by",
];

/// What an application wants to be sent.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// As it was written, for the log.
    value: String,
    /// Below which directory, and which file there; `None` when it is below none.
    place: Option<(PathBuf, Vec<u8>)>,
    /// The application's other fields.
    fields: Vec<u8>,
}

/// Whether a field of this name says so.
pub(crate) fn names_a_file(name: &[u8]) -> bool {
    is_path(name) || name.eq_ignore_ascii_case(b"x-sendfile")
}

/// Whether it does so by a path.
fn is_path(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"x-accel-redirect")
}

/// The file that a response with these field lines is to have as its body.
pub(crate) fn wanted(routes: &Routes, lines: &[u8]) -> Option<Wanted> {
    let (is_path, value) = lines.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
        names_a_file(name).then(|| (is_path(name), value[1..].trim_ascii()))
    })?;
    let place = if is_path {
        let path = value.split(|byte| *byte == b'?').next().unwrap_or(value);
        routes.internal(path).and_then(|(mount, taken)| {
            let mut name = Vec::new();
            http::relative_path(&path[taken..], &mut name)?;
            Some((mount.directory.clone(), name))
        })
    } else {
        routes.internal_file(value)
    };
    let mut fields = Vec::new();
    http::write_fields_without(&mut fields, lines, &OURS);
    Some(Wanted { value: String::from_utf8_lossy(value).into_owned(), place, fields })
}

/// Answers with it; with 404 when there is no such file, and the log says so.
pub(crate) async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    wanted: Wanted,
) -> Result<Ending, Ending> {
    let thread = std::rc::Rc::clone(&connection.thread);
    let _slot = thread.file_slots.take(thread.settings().queue).await?;
    let now = thread.unix_us(story.began) / 1_000_000;
    let opened = wanted.place.as_ref().map(|(directory, name)| {
        let below = thread.kept_files.below(directory, now);
        (below.open(name), below, name)
    });
    Ok(match opened {
        Some((Opened::File(file), below, name)) => {
            let told = Told { kind: kind::of(name), fields: wanted.fields, by_application: true };
            send(connection, request, upload, story, (below, file, name.clone(), told)).await
        }
        _ => {
            let value = wanted.value;
            thread.tell_seldom("internal", || {
                format!("the application wants {value:?} to be sent, which is no file that can be read below a directory of `internal`")
            });
            own::tell(connection, request, upload, story, (404, "404 Not Found\n")).await
        }
    })
}
