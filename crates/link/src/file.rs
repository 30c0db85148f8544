//! Files that stand for bytes of a response's body: the payload of a ResponseFile frame, and the descriptors that travel
//! beside the bytes of a link.
//!
//! Invariant: a descriptor leaves with the first byte of its frame, no earlier and no later, so that the other side has
//! it when the frame is complete, and in the order of the frames.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use sys::Passed;

use crate::{ExchangeId, Kind, Malformed, write_frame};

/// Which bytes of a file: the payload of a ResponseFile frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The first one.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl FilePart {
    /// Reads the payload of a ResponseFile frame.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed("a part of a file is two numbers within what a file can hold");
        let (offset, length) = payload.split_first_chunk::<8>().ok_or(WRONG)?;
        let offset = u64::from_le_bytes(*offset);
        let length = u64::from_le_bytes(length.try_into().map_err(|_| WRONG)?);
        match offset.checked_add(length) {
            Some(end) if end <= i64::MAX as u64 => Ok(Self { offset, length }),
            _ => Err(WRONG),
        }
    }

    fn payload(self) -> [u8; 16] {
        let mut payload = [0; 16];
        payload[..8].copy_from_slice(&self.offset.to_le_bytes());
        payload[8..].copy_from_slice(&self.length.to_le_bytes());
        payload
    }
}

/// Frames that wait to be sent, with their descriptors.
#[derive(Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    sent: usize,
    /// Where in `bytes` each one's frame begins.
    files: VecDeque<(usize, OwnedFd)>,
}

impl Outbound {
    /// Where frames without a descriptor are appended; those that wait may be read and changed.
    pub fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Appends a ResponseFile frame.
    pub fn write_file(&mut self, frame_flags: u8, id: ExchangeId, part: FilePart, descriptor: OwnedFd) {
        self.files.push_back((self.bytes.len(), descriptor));
        write_frame(&mut self.bytes, Kind::ResponseFile, frame_flags, 0, id, &part.payload());
    }

    /// How many bytes there are since the last [`Outbound::reset`], and how many of them have been sent.
    pub fn progress(&self) -> (usize, usize) {
        (self.bytes.len(), self.sent)
    }

    /// What to send next in one message: never empty, and never beyond the frame of another descriptor.
    pub fn next_message(&self) -> Option<(&[u8], Option<BorrowedFd<'_>>)> {
        let mut files = self.files.iter();
        let (file, end) = match files.next() {
            Some((at, file)) if *at == self.sent => (Some(file.as_fd()), files.next().map(|(at, _)| *at)),
            first => (None, first.map(|(at, _)| *at)),
        };
        let bytes = &self.bytes[self.sent..end.unwrap_or(self.bytes.len())];
        (!bytes.is_empty()).then_some((bytes, file))
    }

    /// The first `count` bytes of the message have left, more than none, and with them its descriptor.
    pub fn advance(&mut self, count: usize) {
        self.files.pop_front_if(|(at, _)| *at == self.sent && 0 < count);
        self.sent += count;
    }

    /// Forgets everything, sent or not; memory beyond `keep` bytes is given back.
    pub fn reset(&mut self, keep: usize) {
        self.sent = 0;
        self.files.clear();
        if self.bytes.capacity() <= keep {
            self.bytes.clear();
        } else {
            self.bytes = Vec::new();
        }
    }
}

/// Descriptors that have arrived and whose frames are not complete yet.
#[derive(Debug, Default)]
pub struct Descriptors(VecDeque<Passed>);

impl Descriptors {
    /// What came with the bytes that were just read.
    pub fn push(&mut self, passed: Passed) {
        if !matches!(passed, Passed::Nothing) {
            self.0.push_back(passed);
        }
    }

    /// That of the ResponseFile frame which was just read; never `Nothing`.
    pub fn take(&mut self) -> Result<Passed, Malformed> {
        self.0.pop_front().ok_or(Malformed("a file without a descriptor"))
    }

    /// To be called when all whole frames were read: a descriptor may wait only for the frame that is cut, of which
    /// `cut` bytes are here. So at most one is ever held for a link.
    pub fn check(&self, cut: usize) -> Result<(), Malformed> {
        if self.0.len() <= usize::from(0 < cut) { Ok(()) } else { Err(Malformed("a descriptor without a file")) }
    }
}

#[cfg(test)]
mod tests;
