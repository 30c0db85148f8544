//! Files of a directory as responses: which file a path names, in which coding, under which conditions.
//!
//! Invariant: nothing outside the directory is ever opened, however the path is spelt and wherever links lead. Directories are not
//! listed; what is no file is nobody's, and the application is asked. What this needs lies in a box, so that a request which
//! asks for no file is not the larger for it.

mod kept; // files that stay open
mod open; // a path below a directory, and nothing else
mod kind; // Content-Type by the end of a name
mod sent; // a file that the application names in place of a body
mod slots; // how many files may be open at a time

use std::{io::Write, path::Path};

use http::{Coding, Condition, Named, Selected, Validators};
use link::FilePart;
use units::Ending;

use crate::{
    body::Upload,
    connection::Connection,
    file::FileBody,
    own::{self, Body, Own},
    record::Story,
    request::Request,
};
use kept::Below;
use kind::Kind;
#[cfg(test)]
pub(crate) use kind::kinds;
use open::{Opened, Regular};

pub(crate) use kept::KeptFiles;
pub(crate) use sent::{Wanted, answer as answer_wanted, names_a_file, wanted};
pub(crate) use slots::FileSlots;

/// Where the files of a path are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    /// So many bytes of the path have named the directory.
    pub(crate) taken: usize,
    /// The file below it that stands for all that are missing.
    pub(crate) fallback: Option<&'a str>,
}

/// Answers with the file that the path names. `None` when there is no such file.
pub(crate) async fn answer(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    Place { directory, taken, fallback }: Place<'_>,
) -> Result<Option<Ending>, Ending> {
    let path = request.head.path.of(&connection.input);
    let mut relative = Vec::new();
    let Some(named) = http::relative_path(&path[taken..], &mut relative) else { return Ok(None) };
    // `/static` is the directory too, but what its index says is relative to `/static/`.
    let named = if taken == path.len() && 0 < taken { Named::Plain } else { named };
    let thread = std::rc::Rc::clone(&connection.thread);
    let slot = thread.file_slots.take(thread.settings().queue).await?;
    let below = thread.kept_files.below(directory, thread.unix_us(story.began) / 1_000_000);
    let found = match (find(below, relative, named), fallback) {
        (Found::Nothing, Some(fallback)) if matches!(request.method(&connection.input), b"GET" | b"HEAD") => {
            stand_in(below, fallback)
        }
        (found, _) => found,
    };
    let ending = match found {
        Found::Nothing => return Ok(None),
        Found::Forbidden(name) => {
            let shown = directory.join(Path::new(&String::from_utf8_lossy(&name).into_owned()));
            connection
                .thread
                .tell_seldom("static", || format!("static: {} cannot be read: permission denied", shown.display()));
            own::tell(connection, request, upload, story, (403, "403 Forbidden\n")).await
        }
        _ if !matches!(request.method(&connection.input), b"GET" | b"HEAD") => {
            let text = (405, "405 Method Not Allowed\n");
            own::tell_with(connection, request, upload, story, text, b"Allow: GET, HEAD\r\n").await
        }
        Found::Directory => {
            let fields = location(connection, request);
            own::answer(
                connection,
                request,
                upload,
                story,
                Own { status: 301, fields: &fields, body: Body::Bytes(b"") },
            )
            .await
        }
        Found::File(file, name) => {
            let told = Told { kind: kind::of(&name), fields: Vec::new(), by_application: false };
            send(connection, request, upload, story, (below, file, name, told)).await
        }
    };
    drop(slot);
    Ok(Some(ending))
}

/// What is said of a file besides what it says itself.
#[derive(Debug)]
struct Told {
    kind: Kind,
    /// Field lines of the application.
    fields: Vec<u8>,
    /// The application has named the file: what it says of its type counts, and nothing else is sent in its place.
    by_application: bool,
}

/// What a path names.
enum Found {
    /// A file, and its name below the directory.
    File(Regular, Vec<u8>),
    /// A directory that has an index, without the slash behind it.
    Directory,
    /// A file that may not be read.
    Forbidden(Vec<u8>),
    Nothing,
}

const INDEX: &[u8] = b"index.html";

fn find(below: Below<'_>, mut name: Vec<u8>, named: Named) -> Found {
    if named == Named::Directory {
        name.extend_from_slice(INDEX);
    }
    match below.open(&name) {
        Opened::File(file) => Found::File(file, name),
        Opened::Denied => Found::Forbidden(name),
        Opened::Directory if named == Named::Plain => {
            name.push(b'/');
            name.extend_from_slice(INDEX);
            match below.open(name.strip_prefix(b"/").unwrap_or(&name)) {
                Opened::File(_) => Found::Directory,
                _ => Found::Nothing,
            }
        }
        Opened::Directory | Opened::Nothing => Found::Nothing,
    }
}

/// The file that stands for one that is missing.
fn stand_in(below: Below<'_>, name: &str) -> Found {
    match below.open(name.as_bytes()) {
        Opened::File(file) => Found::File(file, name.as_bytes().to_vec()),
        Opened::Denied => Found::Forbidden(name.as_bytes().to_vec()),
        Opened::Directory | Opened::Nothing => Found::Nothing,
    }
}

/// Where a directory is: the same path with a slash behind it. No segment of it is empty, so it cannot be taken for a host.
fn location(connection: &Connection, request: &Request<'_>) -> Vec<u8> {
    let input = &connection.input;
    let mut fields = b"Location: ".to_vec();
    fields.extend_from_slice(request.head.path.of(input));
    fields.push(b'/');
    if !request.head.query.is_empty() {
        fields.push(b'?');
        fields.extend_from_slice(request.head.query.of(input));
    }
    fields.extend_from_slice(b"\r\n");
    fields
}

async fn send(
    connection: &mut Connection,
    request: &Request<'_>,
    upload: &Upload,
    story: &mut Story,
    (below, plain, name, told): (Below<'_>, Regular, Vec<u8>, Told),
) -> Ending {
    let kind = told.kind;
    let varies = kind.compresses && !told.by_application;
    let (file, coding) = match varies {
        true => smaller(connection, request, below, plain, &name),
        false => (plain, None),
    };
    let etag = etag(&file, coding);
    let validators = Validators { etag: &etag, modified: file.modified };
    let (head, input) = (request.head, &connection.input);
    let (status, part) = match http::condition(head, input, validators) {
        Condition::Failed => (412, 0..0),
        Condition::NotModified => (304, 0..0),
        Condition::Met if head.is_head => (200, 0..file.length),
        Condition::Met => match http::selected(head, input, validators, file.length, below.now) {
            Selected::Whole => (200, 0..file.length),
            Selected::Part(part) => (206, part),
            Selected::Nothing => (416, 0..0),
        },
    };
    let mut fields = told.fields;
    fields.reserve(256);
    let has_kind = fields
        .split(|byte| *byte == b'\n')
        .any(|line| line.get(..13).is_some_and(|name| name.eq_ignore_ascii_case(b"content-type:")));
    if !matches!(status, 412 | 416) {
        if status != 304 {
            if !has_kind {
                http::write_field(&mut fields, b"Content-Type", kind.name.as_bytes());
            }
            if let Some(coding) = coding {
                http::write_field(&mut fields, b"Content-Encoding", coding.name().as_bytes());
            }
        }
        http::write_field(&mut fields, b"ETag", &etag);
        fields.extend_from_slice(b"Last-Modified: ");
        // A file from the future says when it is asked for (RFC 9110 §8.8.2.1).
        http::write_date(&mut fields, file.modified.min(below.now));
        fields.extend_from_slice(b"\r\nAccept-Ranges: bytes\r\n");
        if varies {
            http::write_field(&mut fields, b"Vary", b"Accept-Encoding");
        }
    }
    // Writing to memory cannot fail.
    let _ = match status {
        206 => write!(fields, "Content-Range: bytes {}-{}/{}\r\n", part.start, part.end - 1, file.length),
        416 => write!(fields, "Content-Range: bytes */{}\r\n", file.length),
        _ => Ok(()),
    };
    let body = FileBody::new(file.descriptor, FilePart { offset: part.start, length: part.end - part.start });
    own::answer(connection, request, upload, story, Own { status, fields: &fields, body: Body::File(body) }).await
}

/// The compressed file beside the plain one that the client likes best, if there is any; else the plain one.
fn smaller(
    connection: &Connection,
    request: &Request<'_>,
    below: Below<'_>,
    plain: Regular,
    name: &[u8],
) -> (Regular, Option<Coding>) {
    // They were compressed with time to spare: the smallest first.
    for coding in http::accepted_codings(request.head, &connection.input, [Coding::Brotli, Coding::Zstd, Coding::Gzip])
    {
        let end: &[u8] = match coding {
            Coding::Brotli => b".br",
            Coding::Zstd => b".zst",
            Coding::Gzip => b".gz",
        };
        if let Opened::File(file) = below.open(&[name, end].concat()) {
            return (file, Some(coding));
        }
    }
    (plain, None)
}

/// As nginx makes it, `"modified-length"`, with what the file system knows more exactly than seconds, and the coding.
fn etag(file: &Regular, coding: Option<Coding>) -> Vec<u8> {
    let mut etag = Vec::with_capacity(48);
    // Writing to memory cannot fail.
    let _ = write!(etag, "\"{:x}", file.modified);
    if file.nanoseconds != 0 {
        let _ = write!(etag, ".{:x}", file.nanoseconds);
    }
    let _ = write!(etag, "-{:x}", file.length);
    if let Some(coding) = coding {
        let _ = write!(etag, "-{}", coding.name());
    }
    etag.push(b'"');
    etag
}
