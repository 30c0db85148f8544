//! The payload of a Request frame: a head that was split and validated by the edge, as lengths and bytes.
//!
//! Layout, little endian: `method u8+bytes · body length u64 · target u16+bytes · path start,end u16 · query start,end
//! u16 · client address u8+bytes · client port u16 · fields u16, each name u16, value u16, bytes · body to the end`. The
//! highest bit of a name's length says that it is no field but a variable of the environ.

use crate::{
    ExchangeId, Kind, Malformed,
    frame::{begin, finish},
};

/// What is known of the length of a request's body before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none.
    None,
    /// The client declared it, or it is inline and counted.
    Known(u64),
    /// It comes in chunks.
    Chunked,
}

const NO_BODY: u64 = u64::MAX;
const CHUNKED: u64 = u64::MAX - 1;

/// Names are shorter than 32 KiB, as heads are.
const VARIABLE: u16 = 0x8000;

/// A field of the request; the edge has checked name and value and left out what must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name as the client wrote it.
    pub name: &'a [u8],
    /// Its value without surrounding white space.
    pub value: &'a [u8],
    /// What it becomes in the environ.
    pub place: Place,
}

/// Where in the environ a field is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As the field that it is: `X-A` is `HTTP_X_A`.
    Field,
    /// Under its own name, in place of what the worker knows itself: `SCRIPT_NAME`, `REMOTE_USER`.
    Variable,
}

/// A request's head as the worker reads it, borrowed from the frame.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// `GET`, …
    pub method: &'a [u8],
    /// How long the body is.
    pub body_length: BodyLength,
    /// The request target as it came, undecoded.
    pub target: &'a [u8],
    /// The path inside it, undecoded; never empty.
    pub path: &'a [u8],
    /// The query inside it without the `?`; empty when there is none.
    pub query: &'a [u8],
    /// The client's IP address as text; empty for a Unix socket.
    pub client: &'a [u8],
    /// The client's port; 0 for a Unix socket.
    pub client_port: u16,
    /// How many fields there are.
    pub field_count: u16,
    fields: &'a [u8],
    /// The body when it is complete inside the frame, else its first bytes.
    pub body: &'a [u8],
}

impl<'a> RequestHead<'a> {
    /// Reads the payload of a Request frame.
    pub fn read(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(payload);
        let method_len = usize::from(cursor.u8()?);
        let method = cursor.bytes(method_len)?;
        let body_length = match cursor.u64()? {
            NO_BODY => BodyLength::None,
            CHUNKED => BodyLength::Chunked,
            length => BodyLength::Known(length),
        };
        let target_len = usize::from(cursor.u16()?);
        let target = cursor.bytes(target_len)?;
        let path = cursor.span(target)?;
        let query = cursor.span(target)?;
        let client_len = usize::from(cursor.u8()?);
        let client = cursor.bytes(client_len)?;
        let client_port = cursor.u16()?;
        let field_count = cursor.u16()?;
        let fields = cursor.0;
        for _ in 0..field_count {
            cursor.field()?;
        }
        let fields = &fields[..fields.len() - cursor.0.len()];
        let path = if path.is_empty() { b"/" } else { path };
        Ok(Self { method, body_length, target, path, query, client, client_port, field_count, fields, body: cursor.0 })
    }

    /// The fields in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let mut cursor = Cursor(self.fields);
        std::iter::from_fn(move || cursor.field().ok())
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("a request is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("exactly N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn span(&mut self, whole: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let (start, end) = (usize::from(self.u16()?), usize::from(self.u16()?));
        whole.get(start..end).ok_or(Malformed("a span leaves the target"))
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let (name, value) = (self.u16()?, usize::from(self.u16()?));
        let place = if name & VARIABLE == 0 { Place::Field } else { Place::Variable };
        Ok(Field { name: self.bytes(usize::from(name & !VARIABLE))?, value: self.bytes(value)?, place })
    }
}

/// Writes a Request frame piece by piece straight into the link's outgoing buffer.
#[derive(Debug)]
pub struct RequestWriter<'a> {
    out: &'a mut Vec<u8>,
    begun: usize,
    count_at: usize,
    count: u16,
}

impl<'a> RequestWriter<'a> {
    /// Begins a frame. `path` and `query` are ranges inside `target`. All lengths fit: the codec's limits are below.
    #[expect(clippy::too_many_arguments, reason = "each is one part of the head; a struct would be filled only here")]
    pub fn begin(
        out: &'a mut Vec<u8>,
        id: ExchangeId,
        flags: u8,
        listener: u16,
        method: &[u8],
        length: BodyLength,
        target: (&[u8], std::ops::Range<u16>, std::ops::Range<u16>),
        client: (&[u8], u16),
    ) -> Self {
        let begun = begin(out, Kind::Request, flags, listener, id);
        out.push(u8::try_from(method.len()).expect("a method is shorter than 256 bytes"));
        out.extend_from_slice(method);
        let length = match length {
            BodyLength::None => NO_BODY,
            BodyLength::Known(length) => length,
            BodyLength::Chunked => CHUNKED,
        };
        out.extend_from_slice(&length.to_le_bytes());
        let (target, path, query) = target;
        out.extend_from_slice(&short(target.len()));
        out.extend_from_slice(target);
        for number in [path.start, path.end, query.start, query.end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let (address, port) = client;
        out.push(u8::try_from(address.len()).expect("an address is shorter than 256 bytes"));
        out.extend_from_slice(address);
        out.extend_from_slice(&port.to_le_bytes());
        let count_at = out.len();
        out.extend_from_slice(&[0, 0]);
        Self { out, begun, count_at, count: 0 }
    }

    /// Adds a field.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.add(0, name, value);
    }

    /// Adds a variable of the environ.
    pub fn variable(&mut self, name: &[u8], value: &[u8]) {
        self.add(VARIABLE, name, value);
    }

    fn add(&mut self, place: u16, name: &[u8], value: &[u8]) {
        let length = u16::try_from(name.len()).ok().filter(|length| length & VARIABLE == 0);
        let length = length.expect("the codec limits names to less than 32 KiB");
        self.out.extend_from_slice(&(length | place).to_le_bytes());
        self.out.extend_from_slice(&short(value.len()));
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(value);
        self.count += 1;
    }

    /// Ends the frame with as much of the body as is at hand.
    pub fn finish(self, body: &[u8]) {
        self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_le_bytes());
        self.out.extend_from_slice(body);
        finish(self.out, self.begun);
    }
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("the codec limits every part to less than 64 KiB").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, flags};

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = RequestWriter::begin(
            &mut out,
            ExchangeId(5),
            flags::HTTP10,
            2,
            b"POST",
            BodyLength::Known(3),
            (b"/a%20b?x=1", 0..6, 7..10),
            (b"127.0.0.1", 4321),
        );
        writer.field(b"Host", b"example.org");
        writer.field(b"X-Empty", b"");
        writer.variable(b"SCRIPT_NAME", b"/shop");
        writer.finish(b"abc");
        out
    }

    #[test]
    fn a_request_survives_the_link() {
        let wire = sample();
        let (frame, length) = Frame::read(&wire).unwrap().unwrap();
        assert_eq!((frame.kind, frame.flags, frame.aux, length), (Kind::Request, flags::HTTP10, 2, wire.len()));
        let head = RequestHead::read(frame.payload).unwrap();
        assert_eq!((head.method, head.body_length), (&b"POST"[..], BodyLength::Known(3)));
        assert_eq!((head.target, head.path, head.query), (&b"/a%20b?x=1"[..], &b"/a%20b"[..], &b"x=1"[..]));
        assert_eq!((head.client, head.client_port, head.body), (&b"127.0.0.1"[..], 4321, &b"abc"[..]));
        let fields: Vec<_> = head.fields().map(|f| (f.name, f.value, f.place)).collect();
        let expected = [
            (&b"Host"[..], &b"example.org"[..], Place::Field),
            (b"X-Empty", b"", Place::Field),
            (b"SCRIPT_NAME", b"/shop", Place::Variable),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_cut_head_is_malformed() {
        let wire = sample();
        let payload = &wire[crate::HEADER_LEN..wire.len() - 3];
        for cut in 0..payload.len() {
            assert!(RequestHead::read(&payload[..cut]).is_err(), "{cut}");
        }
    }
}
