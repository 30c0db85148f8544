//! The body of an application's response through an encoder.
//!
//! Invariant: its end is written only when the application has said that there is no more, and all that it had announced has come.

use http::ResponseFraming;
use link::Abort;
use units::Cause;

use super::Download;
use crate::{
    connection::Connection,
    encode::{Encoder, TURN, Then},
    exchange::Attempt,
    file::FileBody,
    mailbox::{Mail, Turned},
    record::Story,
};

/// What is to be encoded, and by what.
#[derive(Debug)]
pub(super) struct Coded {
    encoder: Encoder,
    /// What is to be read before anything else.
    file: Option<FileBody>,
    /// More than is encoded in one turn has arrived.
    has_more: bool,
}

impl Coded {
    pub(super) fn new(encoder: Encoder) -> Self {
        Self { encoder, file: None, has_more: false }
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }
}

impl Download {
    /// Encodes a piece of what has arrived.
    pub(super) fn take_coded(
        &mut self,
        connection: &mut Connection,
        attempt: &Attempt,
        story: &mut Story,
    ) -> Result<(), Cause> {
        let Some(mut coded) = self.coded.take() else { return Ok(()) };
        let buffers = &connection.thread.buffers;
        let mut piece = if coded.file.is_some() { buffers.take_long() } else { buffers.take_short() };
        match &mut coded.file {
            Some(file) => file.read(TURN, &mut piece).map_err(|_| Cause::HttpResponseIncomplete)?,
            None => attempt.mailbox.look(|mail| self.cut(mail, &mut coded, &mut piece)),
        }
        coded.file = coded.file.filter(|file| 0 < file.left());
        let has_ended = attempt.mailbox.look(|mail| {
            coded.has_more = coded.file.is_some() || !mail.body.is_empty();
            if !coded.has_more && !mail.last && self.turned.is_none() {
                self.turned = mail.turned.take();
            }
            !coded.has_more && mail.last
        });
        let then = match self.left {
            _ if !has_ended => Then::More,
            Some(1..) => Then::Flush,
            _ => Then::Finish,
        };
        story.sent(coded.encoder.write(&piece, then, self.framing, &mut connection.out)?);
        connection.thread.buffers.put(piece);
        if then == Then::Finish && self.framing == ResponseFraming::Chunked {
            connection.out.extend_from_slice(http::LAST_CHUNK);
        }
        self.complete = has_ended;
        if !has_ended {
            self.coded = Some(coded);
        }
        Ok(())
    }

    /// Moves the body of one turn to `piece`, and the file behind it to where it is read from.
    fn cut(&mut self, mail: &mut Mail, coded: &mut Coded, piece: &mut Vec<u8>) {
        if mail.body.len() <= TURN {
            std::mem::swap(piece, &mut mail.body);
        } else {
            piece.extend(mail.body.drain(..TURN));
        }
        self.taken = self.taken.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        self.allowed = self.allowed.and_then(|allowed| allowed.checked_sub(piece.len() as u64));
        if !mail.body.is_empty() {
            return;
        }
        match (mail.file.take(), &mut self.left) {
            (Some(mut file), Some(left)) => {
                file.limit(*left);
                *left -= file.left();
                coded.file = Some(file);
            }
            (Some(_), None) => {
                // No worker of ours sends a file without having announced its length.
                mail.last = false;
                mail.turned = Some(Turned::Aborted(Abort::Incomplete));
            }
            (None, _) => {}
        }
    }

    /// While nothing more arrives, the client is to have what has; false when it has.
    pub(super) fn flush_coded(&mut self, connection: &mut Connection, story: &mut Story) -> Result<bool, Cause> {
        match &mut self.coded {
            Some(coded) if coded.encoder.is_behind() => {
                story.sent(coded.encoder.write(&[], Then::Flush, self.framing, &mut connection.out)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
