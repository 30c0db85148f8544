//! What a client makes of a compressed body, while it comes.

use std::io::Write;

use brotli::DecompressorWriter;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// A body of which some has come.
pub struct Decoder {
    coding: Coding,
    plain: Vec<u8>,
    has_ended: bool,
}

enum Coding {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
    Brotli(Box<DecompressorWriter<Vec<u8>>>),
}

/// A whole body; it has to be whole.
pub fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(coding);
    decoder.push(body);
    assert!(decoder.has_ended(), "{coding}: cut short");
    decoder.plain
}

impl Decoder {
    pub fn new(coding: &str) -> Self {
        let coding = match coding {
            "gzip" => Coding::Gzip(Decompress::new_gzip(15)),
            "zstd" => Coding::Zstd(DCtx::create()),
            "br" => Coding::Brotli(Box::new(DecompressorWriter::new(Vec::new(), 4096))),
            other => panic!("{other:?} is no coding"),
        };
        Self { coding, plain: Vec::new(), has_ended: false }
    }

    /// Takes the next bytes, of which nothing may be left over.
    pub fn push(&mut self, bytes: &[u8]) {
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
            Coding::Brotli(decoder) => {
                decoder.write_all(bytes).unwrap();
                // It knows the end, and says so by refusing to be closed before.
                self.plain.append(decoder.get_mut());
                self.has_ended = decoder.close().is_ok();
            }
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.plain).into_owned()
    }

    /// Forgets what has come, and tells how much that was.
    pub fn take(&mut self) -> usize {
        std::mem::take(&mut self.plain).len()
    }

    /// Whether the coding itself says that nothing follows.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }
}
