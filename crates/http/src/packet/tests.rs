use proptest::prelude::*;

use super::*;
use crate::{FieldKind, Framing, Limits, RequestHead, parse_uwsgi};

fn written(write: impl FnOnce(&mut PacketWriter<'_>)) -> Result<Vec<u8>, Refusal> {
    let mut out = b"before".to_vec();
    let mut packet = PacketWriter::begin(&mut out);
    write(&mut packet);
    packet.end().map(|()| out.split_off(6)).inspect_err(|_| assert_eq!(out, b"before"))
}

#[test]
fn variables_are_written_behind_their_sizes() {
    let packet = written(|packet| {
        packet.variable(b"A", b"");
        packet.field(b"x-a", b"b");
        packet.field(b"Content-Type", b"c");
        packet.path(b"P", b"/a%20%zz%2f%4");
    });
    let expected = b"\0\x37\0\0\x01\0A\0\0\x08\0HTTP_X_A\x01\0b\x0c\0CONTENT_TYPE\x01\0c\x01\0P\x0b\0/a %zz/%4";
    let mut expected = expected.to_vec();
    expected[1] = u8::try_from(expected.len() - HEADER).unwrap();
    let last = expected.len() - b"/a %zz/%4".len() - 2;
    expected[last] = u8::try_from(b"/a %zz/%4".len()).unwrap();
    assert_eq!(packet.unwrap(), expected);
}

#[test]
fn what_does_not_fit_is_refused_and_never_cut() {
    let all = SIZE_MAX - 4;
    for (name, value, fits) in [
        (1, all - 2, true),
        (1, all - 1, true),
        (1, all, false),
        (all - 1, 1, true),
        (all, 1, false),
        (1, 0xffff, false),
        (1, 0x1_0000, false),
        (1, 0x1_0001, false),
        (0x1_0001, 0, false),
        (0, 0x1_0001, false),
    ] {
        let packet = written(|packet| packet.variable(&vec![b'N'; name], &vec![b'v'; value]));
        match packet {
            Ok(packet) => {
                let size = u16::from_le_bytes([packet[1], packet[2]]);
                assert_eq!((packet.len(), usize::from(size)), (HEADER + 4 + name + value, 4 + name + value));
                assert!(fits, "{name} {value}");
            }
            Err(refusal) => assert_eq!((refusal.status, fits), (431, false), "{name} {value}"),
        }
    }
    // It makes no difference whether one variable is too large or all of them together are.
    for (more, fits) in [(SIZE_MAX - 2 * 30_005 - 5, true), (SIZE_MAX - 2 * 30_005 - 4, false)] {
        let three = |packet: &mut PacketWriter<'_>| {
            for length in [30_000, 30_000, more] {
                packet.variable(b"N", &vec![b'v'; length]);
            }
        };
        let four = written(|packet| {
            three(packet);
            packet.variable(b"", b"");
        });
        assert!(four.is_err(), "there is no room for a fourth");
        let packet = written(three);
        assert_eq!(packet.is_ok(), fits, "{more}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        method in "[A-Z]{1,20}",
        path in "(/[a-zA-Z0-9 %~]{1,20}){1,4}",
        query in "[a-z=&%0-9]{0,40}",
        fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", proptest::collection::vec(33u8..=255, 0..80)), 0..40),
        length in proptest::option::of(0u64..=i64::MAX as u64),
        body in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(!matches!(method.as_str(), "CONNECT" | "TRACE"));
        let plain = |byte: &u8| *byte != 127;
        let fields: Vec<(String, Vec<u8>)> =
            fields.into_iter().map(|(name, value)| (format!("x-{name}"), value.into_iter().filter(plain).collect())).collect();
        let escaped = path.replace('%', "%25").replace(' ', "%20");
        let uri = format!("{escaped}?{query}");
        let mut buffer = written(|packet| {
            packet.variable(b"REQUEST_METHOD", method.as_bytes());
            packet.variable(b"REQUEST_URI", uri.as_bytes());
            packet.path(b"PATH_INFO", escaped.as_bytes());
            packet.variable(b"CONTENT_LENGTH", length.map(|length| length.to_string()).unwrap_or_default().as_bytes());
            fields.iter().for_each(|(name, value)| packet.field(name.as_bytes(), value));
        })
        .unwrap();
        let size = buffer.len();
        buffer.extend_from_slice(&body);
        let mut head = RequestHead::default();
        let read = parse_uwsgi(&mut buffer, &Limits::default(), &mut head);
        prop_assert_eq!(read, Ok(Some(size)));
        prop_assert_eq!((head.method.of(&buffer), head.target.of(&buffer)), (method.as_bytes(), uri.as_bytes()));
        prop_assert_eq!(head.query.of(&buffer), query.as_bytes());
        prop_assert_eq!(head.framing, length.map_or(Framing::None, Framing::Length));
        let of_kind = |kind| head.fields.iter().filter(move |field| field.kind == kind);
        let info = of_kind(FieldKind::Variable).find(|field| field.name.of(&buffer) == b"PATH_INFO");
        prop_assert_eq!(info.unwrap().value.of(&buffer), path.as_bytes());
        let read: Vec<_> = of_kind(FieldKind::Other)
            .map(|field| (String::from_utf8_lossy(field.name.of(&buffer)).to_lowercase(), field.value.of(&buffer).to_vec()))
            .collect();
        prop_assert_eq!(read, fields);
    }
}
