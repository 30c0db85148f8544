//! A body's bytes out of its framing (RFC 9112 §6, §7.1).
//!
//! Invariant: a decoder consumes exactly the bytes of its body; the next request begins behind them.

use std::ops::Range;

use crate::{
    bytes::{TOKEN, VALUE},
    head::{Framing, Refusal, refuse},
    target::hex,
};

/// Bytes of chunk extensions: in one chunk, and in all chunks of a body (RFC 9112 §7.1.1 asks for a limit).
const EXTENSION_MAX: usize = 256;
const EXTENSIONS_MAX: usize = 16 * 1024;

/// Bytes and number of trailer fields.
const TRAILERS_MAX: usize = 8 * 1024;
const TRAILER_FIELDS_MAX: usize = 32;

/// Digits of a chunk size: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// A step of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How much of the input was read.
    pub consumed: usize,
    /// Which of it is data.
    pub data: Range<usize>,
    /// Whether the body has ended.
    pub done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    SizeStart,
    Size {
        size: u64,
        digits: u8,
    },
    /// White space behind the size, allowed only before `;`.
    SizeSpace(u64),
    Extension {
        size: u64,
        part: Part,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    Trailer(Trailer),
    Done,
}

/// Where in a chunk extension: `;name`, `;name=value` or `;name="quoted"`. White space may stand around `;` and `=`, and
/// not at the end of the line (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Name {
        empty: bool,
    },
    /// White space behind the name: `=` or `;` follows.
    AfterName,
    Value {
        empty: bool,
    },
    Quoted,
    Escaped,
    AfterQuoted,
    /// White space behind the value: `;` follows.
    AfterValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    LineStart,
    Name,
    Value,
    Lf,
    LastLf,
}

/// Decodes one body; fed with input as it comes.
#[derive(Clone, Debug)]
pub struct BodyDecoder {
    state: State,
    extension: usize,
    extensions: usize,
    trailers: usize,
    trailer_fields: usize,
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::SizeStart,
        };
        Self { state, extension: 0, extensions: 0, trailers: 0, trailer_fields: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads framing up to and including the next piece of data. To be called again with what was not consumed; when
    /// nothing was, more input is needed.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::Length(left) | State::Data(left) => {
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                    let left = left - count as u64;
                    self.state = match (self.state, left) {
                        (State::Length(_), 0) => State::Done,
                        (State::Length(_), left) => State::Length(left),
                        (_, 0) => State::DataCr,
                        (_, left) => State::Data(left),
                    };
                    return Ok(Decoded { consumed: at + count, data: at..at + count, done: self.is_done() });
                }
                _ => {
                    self.state = self.step(input[at])?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { consumed: at, data: at..at, done: self.is_done() })
    }

    fn step(&mut self, byte: u8) -> Result<State, Refusal> {
        Ok(match (self.state, byte) {
            (State::SizeStart, _) => match hex(byte) {
                Some(digit) => {
                    self.extension = 0;
                    State::Size { size: u64::from(digit), digits: 1 }
                }
                None => return refuse(400, "a chunk has no size"),
            },
            (State::Size { size, .. }, b'\r') => State::SizeLf(size),
            (State::Size { size, .. }, b';') => State::Extension { size, part: Part::Name { empty: true } },
            (State::Size { size, .. }, b' ' | b'\t') => State::SizeSpace(size),
            (State::Size { size, digits }, _) => match hex(byte) {
                Some(digit) if digits < SIZE_DIGITS_MAX => {
                    State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
                }
                _ => return refuse(400, "a chunk's size is not a number"),
            },
            (State::SizeSpace(size), b' ' | b'\t') => {
                self.count_extension()?;
                State::SizeSpace(size)
            }
            (State::SizeSpace(size), b';') => State::Extension { size, part: Part::Name { empty: true } },
            (State::SizeSpace(_), _) => return refuse(400, "white space follows a chunk's size"),
            (State::Extension { size, part }, _) => {
                self.count_extension()?;
                self.extension(size, part, byte)?
            }
            (State::SizeLf(0), b'\n') => State::Trailer(Trailer::LineStart),
            (State::SizeLf(size), b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::SizeLf(_) | State::DataCr | State::DataLf, _) => {
                return refuse(400, "a chunk does not end with CRLF");
            }
            (State::Trailer(trailer), _) => self.trailer(trailer, byte)?,
            (State::Length(_) | State::Data(_) | State::Done, _) => self.state,
        })
    }

    fn count_extension(&mut self) -> Result<(), Refusal> {
        self.extension += 1;
        self.extensions += 1;
        if EXTENSION_MAX < self.extension || EXTENSIONS_MAX < self.extensions {
            return refuse(400, "the chunk extensions are too long");
        }
        Ok(())
    }

    fn extension(&self, size: u64, part: Part, byte: u8) -> Result<State, Refusal> {
        let token = TOKEN[usize::from(byte)];
        let part = match (part, byte) {
            (Part::Name { empty: false } | Part::Value { empty: false } | Part::AfterQuoted, b'\r') => {
                return Ok(State::SizeLf(size));
            }
            (Part::Name { empty: false } | Part::AfterName, b'=') => Part::Value { empty: true },
            (Part::Name { empty: true } | Part::Value { empty: true }, b' ' | b'\t') => part,
            (Part::Name { .. } | Part::AfterName, b' ' | b'\t') => Part::AfterName,
            (Part::Value { .. } | Part::AfterQuoted | Part::AfterValue, b' ' | b'\t') => Part::AfterValue,
            (Part::Name { empty: false } | Part::AfterName, b';') => Part::Name { empty: true },
            (Part::Value { empty: false } | Part::AfterQuoted | Part::AfterValue, b';') => Part::Name { empty: true },
            (Part::Value { empty: true }, b'"') => Part::Quoted,
            (Part::Name { .. }, _) if token => Part::Name { empty: false },
            (Part::Value { .. }, _) if token => Part::Value { empty: false },
            (Part::Quoted, b'"') => Part::AfterQuoted,
            (Part::Quoted, b'\\') => Part::Escaped,
            (Part::Quoted | Part::Escaped, _) if VALUE[usize::from(byte)] => Part::Quoted,
            _ => return refuse(400, "a chunk extension is malformed"),
        };
        Ok(State::Extension { size, part })
    }

    /// Trailers are checked like fields and dropped (RFC 9110 §6.5.1 forbids to merge what is not known to be safe).
    fn trailer(&mut self, trailer: Trailer, byte: u8) -> Result<State, Refusal> {
        self.trailers += 1;
        if TRAILERS_MAX < self.trailers {
            return refuse(431, "the trailers are too long");
        }
        let next = match (trailer, byte) {
            (Trailer::LineStart, b'\r') => Trailer::LastLf,
            (Trailer::LastLf, b'\n') => return Ok(State::Done),
            (Trailer::LineStart, _) if TOKEN[usize::from(byte)] => {
                self.trailer_fields += 1;
                if TRAILER_FIELDS_MAX < self.trailer_fields {
                    return refuse(431, "there are too many trailers");
                }
                Trailer::Name
            }
            (Trailer::Name, b':') => Trailer::Value,
            (Trailer::Name, _) if TOKEN[usize::from(byte)] => Trailer::Name,
            (Trailer::Value, b'\r') => Trailer::Lf,
            (Trailer::Value, _) if VALUE[usize::from(byte)] => Trailer::Value,
            (Trailer::Lf, b'\n') => Trailer::LineStart,
            _ => return refuse(400, "a trailer is malformed"),
        };
        Ok(State::Trailer(next))
    }
}

#[cfg(test)]
mod tests;
