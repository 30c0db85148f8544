use std::io::{Cursor, Read};

use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;
use zstd_safe::DCtx;

use super::*;

const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Zstd, Coding::Brotli];
const RAW: ResponseFraming = ResponseFraming::UntilClose;

/// What can be made of the beginning of a body, and whether it is whole.
fn decoded(coding: Coding, bytes: &[u8]) -> (Vec<u8>, bool) {
    const ROOM: usize = 1 << 20;
    match coding {
        Coding::Gzip => {
            let mut out = Vec::with_capacity(ROOM);
            let status = Decompress::new_gzip(15).decompress_vec(bytes, &mut out, FlushDecompress::Sync).unwrap();
            (out, status == Status::StreamEnd)
        }
        Coding::Zstd => {
            let mut out = Vec::with_capacity(ROOM);
            let mut input = InBuffer::around(bytes);
            let left = DCtx::create().decompress_stream(&mut OutBuffer::around(&mut out), &mut input).unwrap();
            (out, left == 0)
        }
        Coding::Brotli => {
            let (mut out, mut byte) = (Vec::new(), [0]);
            let mut decoder = brotli::Decompressor::new(Cursor::new(bytes), 4096);
            loop {
                match decoder.read(&mut byte) {
                    Ok(0) => return (out, true),
                    Ok(_) => out.push(byte[0]),
                    Err(_) => return (out, false),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In whatever pieces it comes and goes: what was flushed can be read, and only what was finished is whole.
    #[test]
    fn what_is_encoded_can_be_decoded(
        coding in prop::sample::select(CODINGS.to_vec()),
        pieces in prop::collection::vec((prop::collection::vec(prop::sample::select(b"abc<> \xff".to_vec()), 0..9000), any::<bool>()), 0..8),
        announced in any::<bool>(),
    ) {
        let encoders = Rc::new(Encoders::default());
        let length = pieces.iter().map(|(piece, _)| piece.len() as u64).sum();
        // The second time with what the first has left behind in the middle.
        for abandoned in [true, false] {
            let mut encoder = encoders.begin(coding, announced.then_some(length)).unwrap();
            let (mut out, mut plain) = (Vec::new(), Vec::new());
            for (piece, flushed) in &pieces {
                plain.extend_from_slice(piece);
                let then = if *flushed { Then::Flush } else { Then::More };
                encoder.write(piece, then, RAW, &mut out).unwrap();
                if *flushed {
                    prop_assert!(!encoder.is_behind());
                    let (read, whole) = decoded(coding, &out);
                    prop_assert!(read == plain && !whole);
                }
            }
            if !abandoned {
                let before = out.len() as u64;
                let count = encoder.write(b"", Then::Finish, RAW, &mut out).unwrap();
                prop_assert_eq!(before + count, out.len() as u64);
                prop_assert!(decoded(coding, &out) == (plain, true));
            }
        }
    }
}

#[test]
fn long_bodies_come_out_in_chunks_while_they_go_in() {
    let mut noise = 1_u32;
    let plain: Vec<u8> = (0..8 * TURN)
        .map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + u8::try_from(noise >> 28).unwrap()
        })
        .collect();
    for coding in CODINGS {
        let mut encoder = Rc::new(Encoders::default()).begin(coding, None).unwrap();
        let mut out = Vec::new();
        assert!(!encoder.ends_turn());
        for piece in plain.chunks(TURN) {
            encoder.write(piece, Then::More, ResponseFraming::Chunked, &mut out).unwrap();
            assert!(encoder.ends_turn() && !encoder.ends_turn(), "once");
        }
        // A window and what makes it worth a block.
        assert!(128 * 1024 < out.len(), "{coding:?}: {}", out.len());
        encoder.write(b"", Then::Finish, ResponseFraming::Chunked, &mut out).unwrap();
        let (mut at, mut body) = (0, Vec::new());
        while at < out.len() {
            let end = at + out[at..].iter().position(|byte| *byte == b'\r').unwrap();
            let length = usize::from_str_radix(std::str::from_utf8(&out[at..end]).unwrap(), 16).unwrap();
            assert!(0 < length, "an empty chunk is the end");
            body.extend_from_slice(&out[end + 2..end + 2 + length]);
            at = end + 4 + length;
        }
        assert_eq!(decoded(coding, &body), (plain.clone(), true));
    }
}

#[test]
fn there_are_only_so_many() {
    let encoders = Rc::new(Encoders::default());
    let mut begun: Vec<_> = (0..ENCODERS_MAX).map(|_| encoders.begin(Coding::Zstd, None).unwrap()).collect();
    assert!(encoders.begin(Coding::Gzip, None).is_none());
    for encoder in &mut begun {
        encoder.write(b"a", Then::Flush, RAW, &mut Vec::new()).unwrap();
    }
    begun.pop();
    assert!(encoders.begin(Coding::Gzip, None).is_some());
    begun.clear();
    assert_eq!((encoders.in_use.get(), encoders.spare.borrow().len()), (0, SPARE));
}
