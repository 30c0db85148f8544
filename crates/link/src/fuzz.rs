//! What holds of every frame, whatever the bytes are. The fuzz target calls this, and so does a test, with inputs that are
//! nearly right: a worker's process is the user's, and may write anything.

use crate::{FilePart, Frame, Inbound, Kind, Malformed, RequestHead, ResponseHead};

/// A stream of frames, in pieces and at once.
pub fn frames(input: &[u8]) {
    let (whole, end) = read(input, input.len());
    assert_eq!((&whole, end), (&read(input, 1).0, read(input, 1).1), "in pieces it is the same");
    for (kind, flags, payload) in &whole {
        match kind {
            Kind::Request => {
                if let Ok(head) = RequestHead::read(payload) {
                    assert_eq!(head.fields().count(), usize::from(head.field_count));
                    assert!(head.body.len() < payload.len() && !head.path.is_empty());
                }
            }
            Kind::Response => {
                if let Ok(head) = ResponseHead::read(*flags, payload) {
                    assert!(head.reason.len() + head.fields.len() + head.body.len() < payload.len());
                }
            }
            Kind::ResponseFile => {
                if let Ok(part) = FilePart::read(payload) {
                    assert!(part.offset.checked_add(part.length).is_some());
                }
            }
            _ => {}
        }
    }
}

type Whole = (Kind, u8, Vec<u8>);

/// The frames, and what came behind them: so many bytes, or the end.
fn read(input: &[u8], piece: usize) -> (Vec<Whole>, Result<usize, Malformed>) {
    let (mut inbound, mut seen) = (Inbound::default(), Vec::new());
    for bytes in input.chunks(piece.max(1)) {
        inbound.spare(bytes.len()).extend_from_slice(bytes);
        loop {
            match inbound.next_frame() {
                Ok(Some(frame)) => {
                    assert!(frame.amount().is_ok() == (frame.payload.len() == 4));
                    seen.push((frame.kind, frame.flags, frame.payload.to_vec()));
                }
                Ok(None) => break,
                Err(malformed) => return (seen, Err(malformed)),
            }
        }
    }
    assert!(Frame::read(&[]) == Ok(None));
    (seen, Ok(inbound.cut()))
}

#[cfg(test)]
mod tests {
    use testkit::mutants;

    use super::*;
    use crate::{ExchangeId, flags, write_frame, write_response};

    #[test]
    fn frames_of_all_kinds() {
        let mut wire = Vec::new();
        let head = ResponseHead { content_length: Some(3), reason: b"OK", fields: b"A: b\r\n", body: b"abc" };
        write_response(&mut wire, ExchangeId::new(1, 2), 200, flags::LAST, &head);
        write_frame(&mut wire, Kind::Credit, 0, 0, ExchangeId(1), &77u32.to_le_bytes());
        write_frame(&mut wire, Kind::ResponseFile, flags::LAST, 0, ExchangeId(1), &[0; 16]);
        let mut request = Vec::new();
        let payload = b"\x03GET\0\0\0\0\0\0\0\0\x04\0/a?b\0\0\x02\0\x03\0\x04\0\x01a\x50\0\x02\0\x01\0\x01\0Ab\x01\x80\x01\0Cdbody";
        write_frame(&mut request, Kind::Request, 0, 0, ExchangeId(3), payload);
        assert!(RequestHead::read(payload).is_ok_and(|head| head.body == b"body" && head.field_count == 2));
        mutants(&[&wire, &request], 20_000, frames);
    }
}
