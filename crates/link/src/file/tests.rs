use std::{
    fs::File,
    io::{IoSlice, Write},
    mem::MaybeUninit,
    os::unix::{fs::FileExt, net::UnixStream},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};

use super::*;
use crate::{Inbound, flags};

fn file(text: &str) -> OwnedFd {
    let mut file = File::from(memfd_create(c"part", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(text.as_bytes()).unwrap();
    file.into()
}

fn part(length: u64) -> FilePart {
    FilePart { offset: 1, length }
}

/// Bodies and files in turn; a file's text is the number of its frame.
fn frames() -> Outbound {
    let mut outbound = Outbound::default();
    outbound.write_file(0, ExchangeId(0), part(0), file("0"));
    write_frame(outbound.bytes(), Kind::ResponseBody, 0, 0, ExchangeId(1), b"one");
    outbound.write_file(flags::LAST, ExchangeId(2), part(2), file("2"));
    outbound.write_file(flags::LAST, ExchangeId(3), part(3), file("3"));
    write_frame(outbound.bytes(), Kind::Done, 0, 0, ExchangeId(4), b"");
    outbound
}

/// Sends at most `most` bytes a message and receives at most `room` a time, everything sent or each message at once.
fn carry(most: usize, room: usize, at_once: bool) -> Vec<(Kind, u32, String)> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut outbound, mut inbound, mut descriptors) = (frames(), Inbound::default(), Descriptors::default());
    let mut seen = Vec::new();
    let mut receive = || {
        loop {
            let mut buffer = Vec::with_capacity(room);
            let Ok((_, passed)) = sys::receive(&ours, &mut buffer) else { return };
            inbound.spare(0).extend_from_slice(&buffer);
            descriptors.push(passed);
            while let Some(frame) = inbound.next_frame().unwrap() {
                let mut text = String::from_utf8(frame.payload.to_vec()).unwrap();
                if frame.kind == Kind::ResponseFile {
                    assert_eq!(FilePart::read(frame.payload), Ok(part(frame.id.0.into())));
                    let Ok(Passed::Descriptor(descriptor)) = descriptors.take() else { panic!("no descriptor") };
                    let mut byte = [0];
                    File::from(descriptor).read_at(&mut byte, 0).unwrap();
                    text = String::from_utf8(byte.to_vec()).unwrap();
                }
                seen.push((frame.kind, frame.id.0, text));
            }
            descriptors.check(inbound.cut()).unwrap();
        }
    };
    while let Some((bytes, descriptor)) = outbound.next_message() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptor = descriptor.as_slice();
        assert!(descriptor.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptor)));
        let bytes = IoSlice::new(&bytes[..most.min(bytes.len())]);
        let count = sendmsg(&theirs, &[bytes], &mut control, SendFlags::empty()).unwrap();
        outbound.advance(count);
        if at_once {
            receive();
        }
    }
    receive();
    let (all, sent) = outbound.progress();
    assert_eq!(all, sent);
    assert!(outbound.files.is_empty());
    seen
}

#[test]
fn descriptors_meet_their_frames_however_the_stream_is_cut() {
    let expected = [
        (Kind::ResponseFile, 0, "0"),
        (Kind::ResponseBody, 1, "one"),
        (Kind::ResponseFile, 2, "2"),
        (Kind::ResponseFile, 3, "3"),
        (Kind::Done, 4, ""),
    ];
    let expected = expected.map(|(kind, id, text)| (kind, id, text.to_owned()));
    for most in (1..40).chain([1000]) {
        for room in (1..60).chain([1000]) {
            for at_once in [false, true] {
                assert_eq!(carry(most, room, at_once), expected, "{most} sent, {room} received");
            }
        }
    }
}

#[test]
fn frames_and_descriptors_that_do_not_match_are_malformed() {
    let mut descriptors = Descriptors::default();
    assert!(descriptors.take().is_err());
    descriptors.push(Passed::Nothing);
    assert!(descriptors.take().is_err());
    descriptors.push(Passed::Descriptor(file("")));
    assert!(descriptors.check(0).is_err());
    assert!(descriptors.check(1).is_ok());
    descriptors.push(Passed::Lost);
    assert!(descriptors.check(1).is_err());
    assert!(matches!(descriptors.take(), Ok(Passed::Descriptor(_))));
    assert!(matches!(descriptors.take(), Ok(Passed::Lost)));
}

#[test]
fn a_part_lies_within_what_a_file_can_hold() {
    let whole = FilePart { offset: 5, length: i64::MAX as u64 - 5 };
    assert_eq!(FilePart::read(&whole.payload()), Ok(whole));
    assert!(FilePart::read(&FilePart { offset: 6, ..whole }.payload()).is_err());
    assert!(FilePart::read(&FilePart { offset: u64::MAX, length: 1 }.payload()).is_err());
    for cut in [0, 8, 15, 17] {
        assert!(FilePart::read(&[0; 17][..cut]).is_err(), "{cut}");
    }
}
