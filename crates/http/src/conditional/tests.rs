use super::*;
use crate::{Limits, parse_request};

const ETAG: &[u8] = b"\"5f-10\"";
/// Sun, 06 Nov 1994 08:49:37 GMT.
const MODIFIED: u64 = 784_111_777;
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

fn request(fields: &str) -> (Vec<u8>, RequestHead) {
    let input = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&input, &Limits::default(), &mut head).unwrap().unwrap();
    (input, head)
}

fn validators() -> Validators<'static> {
    Validators { etag: ETAG, modified: MODIFIED }
}

#[test]
fn conditions_in_their_order() {
    use Condition::{Failed, Met, NotModified};
    for (fields, expected) in [
        (String::new(), Met),
        ("If-None-Match: \"5f-10\"\r\n".into(), NotModified),
        ("If-None-Match: W/\"5f-10\"\r\n".into(), NotModified),
        ("If-None-Match: \"x\", \"5f-10\"\r\n".into(), NotModified),
        ("If-None-Match: \"x\"\r\nIf-None-Match: \"5f-10\"\r\n".into(), NotModified),
        ("If-None-Match: *\r\n".into(), NotModified),
        ("If-None-Match: \"x\"\r\n".into(), Met),
        ("If-None-Match: 5f-10\r\n".into(), Met),
        (format!("If-Modified-Since: {SAME}\r\n"), NotModified),
        (format!("If-Modified-Since: {AFTER}\r\n"), NotModified),
        (format!("If-Modified-Since: {BEFORE}\r\n"), Met),
        ("If-Modified-Since: yesterday\r\n".into(), Met),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {SAME}\r\n"), Met),
        ("If-Match: \"5f-10\"\r\n".into(), Met),
        ("If-Match: *\r\n".into(), Met),
        ("If-Match: W/\"5f-10\"\r\n".into(), Failed),
        ("If-Match: \"x\"\r\nIf-None-Match: \"5f-10\"\r\n".into(), Failed),
        (format!("If-Unmodified-Since: {BEFORE}\r\n"), Failed),
        (format!("If-Unmodified-Since: {SAME}\r\n"), Met),
        (format!("If-Match: \"5f-10\"\r\nIf-Unmodified-Since: {BEFORE}\r\n"), Met),
    ] {
        let (input, head) = request(&fields);
        assert_eq!(condition(&head, &input, validators()), expected, "{fields}");
    }
}

#[test]
fn one_range_is_a_part_and_anything_else_the_whole() {
    use Selected::{Nothing, Part, Whole};
    for (range, expected) in [
        ("bytes=0-0", Part(0..1)),
        ("bytes=2-4", Part(2..5)),
        ("Bytes=2-", Part(2..10)),
        ("bytes=-3", Part(7..10)),
        ("bytes=-30", Part(0..10)),
        ("bytes=5-99999999999999999999999", Part(5..10)),
        ("bytes= 5 - 6", Part(5..7)),
        ("bytes=10-", Nothing),
        ("bytes=99999999999999999999999-", Nothing),
        ("bytes=-0", Nothing),
        ("bytes=4-2", Whole),
        ("bytes=-", Whole),
        ("bytes=", Whole),
        ("bytes=a-b", Whole),
        ("bytes=+1-2", Whole),
        ("bytes=0-1,3-4", Whole),
        ("lines=0-1", Whole),
        ("0-1", Whole),
    ] {
        let (input, head) = request(&format!("Range: {range}\r\n"));
        assert_eq!(selected(&head, &input, validators(), 10, MODIFIED + 60), expected, "{range}");
    }
    let (input, head) = request("Range: bytes=0-0\r\nRange: bytes=1-1\r\n");
    assert_eq!(selected(&head, &input, validators(), 10, MODIFIED + 60), Whole);
    let (input, head) = request("Range: bytes=0-\r\n");
    assert_eq!(selected(&head, &input, validators(), 0, MODIFIED + 60), Nothing, "of an empty file");
}

#[test]
fn a_range_of_another_representation_is_the_whole() {
    for (wanted, now, part) in [
        ("\"5f-10\"", MODIFIED, true),
        ("W/\"5f-10\"", MODIFIED + 60, false),
        ("\"x\"", MODIFIED + 60, false),
        (SAME, MODIFIED + 60, true),
        (SAME, MODIFIED + 1, false),
        (AFTER, MODIFIED + 60, false),
        ("x", MODIFIED + 60, false),
    ] {
        let (input, head) = request(&format!("Range: bytes=0-0\r\nIf-Range: {wanted}\r\n"));
        let got = selected(&head, &input, validators(), 10, now);
        assert_eq!(got == Selected::Part(0..1), part, "{wanted}");
    }
}

#[test]
fn codings_in_the_order_in_which_they_are_liked() {
    use Coding::{Brotli, Gzip, Zstd};
    for (accept, expected) in [
        ("", &[][..]),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", &[Brotli, Zstd, Gzip]),
        ("Accept-Encoding: gzip\r\nAccept-Encoding: br\r\n", &[Brotli, Gzip]),
        ("Accept-Encoding: GZIP;q=1.0, br;q=0.5\r\n", &[Gzip, Brotli]),
        ("Accept-Encoding: br;q=0, gzip;q=0.001\r\n", &[Gzip]),
        ("Accept-Encoding: *\r\n", &[Brotli, Zstd, Gzip]),
        ("Accept-Encoding: *;q=0.5, br;q=0\r\n", &[Zstd, Gzip]),
        ("Accept-Encoding: identity\r\n", &[]),
        ("Accept-Encoding: identity, br;q=0.9, gzip\r\n", &[Gzip]),
        ("Accept-Encoding: Identity;q=0.5, *;q=0.5, br;q=0.4\r\n", &[Zstd, Gzip]),
        ("Accept-Encoding: identity;q=0, br\r\n", &[Brotli]),
        ("Accept-Encoding: br;q=1.1, zstd;q=x, gzip;q=0.1234\r\n", &[]),
    ] {
        let (input, head) = request(accept);
        assert_eq!(accepted_codings(&head, &input, [Brotli, Zstd, Gzip]).collect::<Vec<_>>(), expected, "{accept}");
    }
    let (input, head) = request("Accept-Encoding: gzip, br, zstd;q=0.9\r\n");
    let ordered = accepted_codings(&head, &input, [Zstd, Gzip, Brotli]).collect::<Vec<_>>();
    assert_eq!(ordered, [Gzip, Brotli, Zstd], "in the order that is preferred here, where the client has none");
}
