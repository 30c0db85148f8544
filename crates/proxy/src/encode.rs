//! Bodies through an encoder, piece by piece.
//!
//! Invariant: only [`Then::Finish`] makes what was written whole. A thread has at most [`ENCODERS_MAX`] encoders at a time, each of
//! at most 2 MiB: with a window of 256 KiB (zstd), 64 KiB (brotli) or 32 KiB (gzip). What they cost, and why these levels:
//! `docs/decisions/0011-compression.md`.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::Write,
    rc::Rc,
};

use brotli::CompressorWriter;
use flate2::{Compress, Compression, FlushCompress, Status};
use http::{Coding, ResponseFraming};
use units::Cause;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

/// So many bytes are encoded before others on the thread have their turn: a millisecond at most.
pub(crate) const TURN: usize = 64 * 1024;

/// What begins while so many encoders are in use is sent as it is.
const ENCODERS_MAX: usize = 64;

/// Encoders of each kind that wait for the next response.
const SPARE: usize = 4;

/// Room for output is made in steps of this.
const ROOM: usize = 8 * 1024;

const GZIP_LEVEL: u32 = 5;
const GZIP_WINDOW_BITS: u8 = 15;
const ZSTD_LEVEL: i32 = 3;
const ZSTD_WINDOW_BITS: u32 = 18;
const BROTLI_QUALITY: u32 = 4;
const BROTLI_WINDOW_BITS: u32 = 16;

/// What is to become of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// More follow: they may wait for those.
    More,
    /// The client is to have them now.
    Flush,
    /// They are the last.
    Finish,
}

/// The encoders of one thread.
#[derive(Debug, Default)]
pub(crate) struct Encoders {
    in_use: Cell<usize>,
    spare: RefCell<Vec<State>>,
    scratch: RefCell<Vec<u8>>,
}

impl Encoders {
    /// An encoder, unless there are too many; `length` is what the body will have, if that is known.
    pub(crate) fn begin(self: &Rc<Self>, coding: Coding, length: Option<u64>) -> Option<Encoder> {
        if ENCODERS_MAX <= self.in_use.get() {
            return None;
        }
        self.in_use.set(self.in_use.get() + 1);
        Some(Encoder { coding, length, state: None, is_behind: false, turn: 0, home: Rc::clone(self) })
    }

    fn take(&self, coding: Coding) -> Option<State> {
        let mut spare = self.spare.borrow_mut();
        let at = spare.iter().position(|state| state.coding() == coding)?;
        Some(spare.swap_remove(at))
    }

    fn put(&self, state: State) {
        let mut spare = self.spare.borrow_mut();
        // One of brotli cannot begin anew.
        if state.coding() != Coding::Brotli
            && spare.iter().filter(|other| other.coding() == state.coding()).count() < SPARE
        {
            spare.push(state);
        }
    }
}

/// One response's body on its way; the encoder serves others once this is dropped.
#[derive(Debug)]
pub(crate) struct Encoder {
    coding: Coding,
    length: Option<u64>,
    /// `None` before the first byte: the answer to HEAD needs none.
    state: Option<State>,
    /// Something was taken in that may not have come out.
    is_behind: bool,
    /// Bytes of this turn.
    turn: usize,
    home: Rc<Encoders>,
}

impl Encoder {
    /// Whether the client could not make anything yet of the last bytes.
    pub(crate) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Whether others are to have their turn, which is told once.
    pub(crate) fn ends_turn(&mut self) -> bool {
        let ends = TURN <= self.turn;
        if ends {
            self.turn = 0;
        }
        ends
    }

    /// Encodes `bytes` and appends what comes out to `out`, framed; tells how many bytes of body that are.
    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        then: Then,
        framing: ResponseFraming,
        out: &mut Vec<u8>,
    ) -> Result<u64, Cause> {
        if bytes.is_empty() && then == Then::More {
            return Ok(0);
        }
        let state = match &mut self.state {
            Some(state) => state,
            None => self.state.insert(begin(self.coding, self.home.take(self.coding), self.length)?),
        };
        let mut encoded = self.home.scratch.take();
        encoded.clear();
        state.write(bytes, then, &mut encoded)?;
        self.turn += bytes.len();
        self.is_behind = then == Then::More && (self.is_behind || !bytes.is_empty());
        if !encoded.is_empty() {
            match framing {
                ResponseFraming::Chunked => {
                    http::write_chunk_head(out, encoded.len());
                    out.extend_from_slice(&encoded);
                    out.extend_from_slice(http::CHUNK_END);
                }
                _ => out.extend_from_slice(&encoded),
            }
        }
        let count = encoded.len() as u64;
        self.home.scratch.replace(encoded);
        Ok(count)
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.home.in_use.set(self.home.in_use.get() - 1);
        if let Some(state) = self.state.take() {
            self.home.put(state);
        }
    }
}

enum State {
    Gzip(Box<Compress>),
    Zstd(CCtx<'static>),
    Brotli(Box<Option<CompressorWriter<Vec<u8>>>>),
}

/// One that was used before, or a new one.
fn begin(coding: Coding, used: Option<State>, length: Option<u64>) -> Result<State, Cause> {
    let state = used.unwrap_or_else(|| match coding {
        Coding::Gzip => State::Gzip(Box::new(Compress::new_gzip(Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS))),
        Coding::Zstd => State::Zstd(CCtx::create()),
        Coding::Brotli => {
            let writer = CompressorWriter::new(Vec::new(), ROOM, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
            State::Brotli(Box::new(Some(writer)))
        }
    });
    state.reset(length)
}

impl State {
    fn coding(&self) -> Coding {
        match self {
            Self::Gzip(_) => Coding::Gzip,
            Self::Zstd(_) => Coding::Zstd,
            Self::Brotli(_) => Coding::Brotli,
        }
    }

    fn reset(mut self, length: Option<u64>) -> Result<Self, Cause> {
        match &mut self {
            Self::Gzip(encoder) => encoder.reset(),
            Self::Zstd(encoder) => {
                // Tables are made as large as the body needs them.
                encoder
                    .reset(ResetDirective::SessionOnly)
                    .and_then(|_| encoder.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)))
                    .and_then(|_| encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_BITS)))
                    .and_then(|_| encoder.set_pledged_src_size(length))
                    .map_err(|_| Cause::ProxyInternalError)?;
            }
            Self::Brotli(_) => {}
        }
        Ok(self)
    }

    /// An encoder that writes to memory fails only without memory, or when it is used wrongly.
    fn write(&mut self, bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), Cause> {
        let written = match self {
            Self::Gzip(encoder) => gzip(encoder, bytes, then, out),
            Self::Zstd(encoder) => zstd(encoder, bytes, then, out),
            Self::Brotli(encoder) => brotli(encoder, bytes, then, out),
        };
        written.ok_or(Cause::ProxyInternalError)
    }
}

fn gzip(encoder: &mut Compress, mut bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Option<()> {
    let flush = match then {
        Then::More => FlushCompress::None,
        Then::Flush => FlushCompress::Sync,
        Then::Finish => FlushCompress::Finish,
    };
    loop {
        out.reserve(ROOM);
        let before = encoder.total_in();
        let status = encoder.compress_vec(bytes, out, flush).ok()?;
        bytes = &bytes[usize::try_from(encoder.total_in() - before).ok()?..];
        let has_room = out.len() < out.capacity();
        if status == Status::StreamEnd || (then != Then::Finish && bytes.is_empty() && has_room) {
            return Some(());
        }
    }
}

fn zstd(encoder: &mut CCtx<'static>, bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Option<()> {
    let directive = match then {
        Then::More => ZSTD_EndDirective::ZSTD_e_continue,
        Then::Flush => ZSTD_EndDirective::ZSTD_e_flush,
        Then::Finish => ZSTD_EndDirective::ZSTD_e_end,
    };
    let mut input = InBuffer::around(bytes);
    loop {
        out.reserve(ROOM);
        let end = out.len();
        let left = encoder.compress_stream2(&mut OutBuffer::around_pos(out, end), &mut input, directive).ok()?;
        if input.pos() == bytes.len() && (left == 0 || then == Then::More) {
            return Some(());
        }
    }
}

fn brotli(encoder: &mut Option<CompressorWriter<Vec<u8>>>, bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Option<()> {
    let writer = encoder.as_mut()?;
    writer.write_all(bytes).ok()?;
    match then {
        Then::More => out.append(writer.get_mut()),
        Then::Flush => {
            writer.flush().ok()?;
            out.append(writer.get_mut());
        }
        Then::Finish => out.append(&mut encoder.take()?.into_inner()),
    }
    Some(())
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.coding()).finish()
    }
}

#[cfg(test)]
mod tests;
