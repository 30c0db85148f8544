//! What a client makes of a compressed body, while it comes.

use std::io::Read;

use brotli::Decompressor;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// A body of which some has come.
pub(crate) struct Decoder {
    coding: Coding,
    plain: Vec<u8>,
    has_ended: bool,
}

enum Coding {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
    /// All that has come.
    Brotli(Vec<u8>),
}

/// A whole body; it has to be whole.
pub(crate) fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(coding);
    decoder.push(body);
    assert!(decoder.has_ended(), "{coding}: cut short");
    decoder.plain
}

impl Decoder {
    pub(crate) fn new(coding: &str) -> Self {
        let coding = match coding {
            "gzip" => Coding::Gzip(Decompress::new_gzip(15)),
            "zstd" => Coding::Zstd(DCtx::create()),
            "br" => Coding::Brotli(Vec::new()),
            other => panic!("{other:?} is no coding"),
        };
        Self { coding, plain: Vec::new(), has_ended: false }
    }

    /// Takes the next bytes, of which nothing may be left over.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match &mut self.coding {
            Coding::Gzip(decoder) => {
                let before = decoder.total_in();
                loop {
                    self.plain.reserve(64 * 1024);
                    let at = usize::try_from(decoder.total_in() - before).unwrap();
                    let status = decoder.decompress_vec(&bytes[at..], &mut self.plain, FlushDecompress::Sync).unwrap();
                    self.has_ended |= status == Status::StreamEnd;
                    if self.has_ended || self.plain.len() < self.plain.capacity() {
                        break;
                    }
                }
                assert_eq!(decoder.total_in() - before, bytes.len() as u64);
            }
            Coding::Zstd(decoder) => {
                let mut input = InBuffer::around(bytes);
                loop {
                    self.plain.reserve(64 * 1024);
                    let end = self.plain.len();
                    let mut out = OutBuffer::around_pos(&mut self.plain, end);
                    self.has_ended |= decoder.decompress_stream(&mut out, &mut input).unwrap() == 0;
                    if self.plain.len() < self.plain.capacity() {
                        break;
                    }
                }
                assert_eq!(input.pos(), bytes.len());
            }
            Coding::Brotli(all) => {
                all.extend_from_slice(bytes);
                self.plain.clear();
                let mut decoder = Decompressor::new(all.as_slice(), 4096);
                let mut byte = [0];
                self.has_ended = loop {
                    match decoder.read(&mut byte) {
                        Ok(0) => break true,
                        Ok(_) => self.plain.push(byte[0]),
                        Err(_) => break false,
                    }
                };
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.plain).into_owned()
    }

    /// Forgets what has come, and tells how much that was.
    pub(crate) fn take(&mut self) -> usize {
        std::mem::take(&mut self.plain).len()
    }

    /// Whether the coding itself says that nothing follows.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }
}
