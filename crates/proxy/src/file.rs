//! A part of a file in place of body bytes: it goes from the kernel's cache to the client without passing through here.
//!
//! Invariant: never more than the part is sent; a file that has become shorter than the part is noticed. It is read at places of our
//! own, so that others may read it too, and what is not kept elsewhere is closed with the part, sent or not.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Context, Poll, ready},
};

use link::FilePart;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, pread},
};

use crate::stream::Stream;

/// Bytes that are sent at a time: enough for a call to be worth it, little enough for others to have their turn.
const STEP: usize = 256 * 1024;

/// The same where they have to be read first.
const COPIED: usize = 64 * 1024;

/// The rest of a part that is being sent.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Rc<OwnedFd>,
    rest: FilePart,
    way: Way,
}

/// How the bytes come to the socket.
#[derive(Debug)]
enum Way {
    /// sendfile(2).
    Kernel,
    /// Read here and written; what was read and is not sent yet, and where that begins.
    Copy(Vec<u8>, usize),
}

impl FileBody {
    pub(crate) fn new(file: impl Into<Rc<OwnedFd>>, part: FilePart) -> Self {
        Self { file: file.into(), rest: part, way: Way::Kernel }
    }

    /// How many bytes are still to be sent.
    pub(crate) fn left(&self) -> u64 {
        self.rest.length
    }

    /// The file, and what of it is still to be sent.
    pub(crate) fn into_parts(self) -> (Rc<OwnedFd>, FilePart) {
        (self.file, self.rest)
    }

    /// No more than `most` are to be sent.
    pub(crate) fn limit(&mut self, most: u64) {
        self.rest.length = self.rest.length.min(most);
    }

    /// Sends some bytes, and tells how many; at least one when any are left.
    pub(crate) fn poll_step(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<u64, Broken>> {
        let count = loop {
            match ready!(self.poll_move(context, stream)) {
                Ok(count) => break count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // There are file systems whose files can only be read, and streams that the kernel cannot write to.
                Err(error) if matches!(self.way, Way::Kernel) && cannot_send(&error) => {
                    self.way = Way::Copy(Vec::new(), 0);
                }
                Err(error) => return Poll::Ready(Err(Broken::of(&error))),
            }
        };
        self.rest.offset += count;
        self.rest.length -= count;
        Poll::Ready(Ok(count))
    }

    /// Takes the next bytes, at most so many, in place of sending them; at least one when any are left.
    pub(crate) fn read(&mut self, most: usize, bytes: &mut Vec<u8>) -> Result<(), Broken> {
        let wanted = usize::try_from(self.rest.length).unwrap_or(most).min(most);
        bytes.clear();
        bytes.reserve(wanted);
        while 0 < wanted && bytes.is_empty() {
            match pread(&self.file, spare_capacity(bytes), self.rest.offset) {
                Ok(0) => return Err(Broken::File),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(Broken::File),
            }
        }
        bytes.truncate(wanted);
        self.rest.offset += bytes.len() as u64;
        self.rest.length -= bytes.len() as u64;
        Ok(())
    }

    fn poll_move(&mut self, context: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        let FilePart { offset, length } = self.rest;
        let wanted = usize::try_from(length).unwrap_or(STEP).min(STEP);
        let moved = match &mut self.way {
            Way::Kernel => ready!(stream.poll_send_file(context, &self.file, offset, wanted))?,
            Way::Copy(bytes, sent) => {
                if bytes.len() == *sent {
                    bytes.clear();
                    *sent = 0;
                    bytes.reserve_exact(wanted.min(COPIED));
                    let _ = pread(&self.file, spare_capacity(bytes), offset)?;
                    bytes.truncate(wanted);
                }
                let count = if bytes.is_empty() { 0 } else { ready!(stream.poll_write(context, &bytes[*sent..]))? };
                *sent += count;
                count
            }
        };
        Poll::Ready(if moved == 0 && 0 < wanted { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(moved) })
    }
}

/// What has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The file is shorter than the part, or cannot be read.
    File,
    /// The connection.
    Client,
}

impl Broken {
    fn of(error: &io::Error) -> Self {
        let from_file =
            error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(Errno::IO.raw_os_error());
        if from_file { Self::File } else { Self::Client }
    }
}

fn cannot_send(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
