//! Content-Type by the end of a name, and whether compressing is worth it.

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Whether there may be compressed files beside it.
    pub(crate) compresses: bool,
}

/// What nobody knows is bytes.
const UNKNOWN: Kind = Kind { name: "application/octet-stream", compresses: false };

/// Ends of names in lower case, what they are, and whether they compress. Text is taken to be UTF-8.
const KINDS: &[(&str, &str, bool)] = &[
    ("7z", "application/x-7z-compressed", false),
    ("aac", "audio/aac", false),
    ("apng", "image/apng", false),
    ("atom", "application/atom+xml; charset=utf-8", true),
    ("avif", "image/avif", false),
    ("bmp", "image/bmp", true),
    ("bz2", "application/x-bzip2", false),
    ("css", "text/css; charset=utf-8", true),
    ("csv", "text/csv; charset=utf-8", true),
    ("eot", "application/vnd.ms-fontobject", true),
    ("epub", "application/epub+zip", false),
    ("flac", "audio/flac", false),
    ("gif", "image/gif", false),
    ("gz", "application/gzip", false),
    ("htm", "text/html; charset=utf-8", true),
    ("html", "text/html; charset=utf-8", true),
    ("ico", "image/x-icon", true),
    ("ics", "text/calendar; charset=utf-8", true),
    ("jpeg", "image/jpeg", false),
    ("jpg", "image/jpeg", false),
    ("js", "text/javascript; charset=utf-8", true),
    ("json", "application/json", true),
    ("jsonld", "application/ld+json", true),
    ("jxl", "image/jxl", false),
    ("m4a", "audio/mp4", false),
    ("m4v", "video/mp4", false),
    ("map", "application/json", true),
    ("md", "text/markdown; charset=utf-8", true),
    ("mjs", "text/javascript; charset=utf-8", true),
    ("mov", "video/quicktime", false),
    ("mp3", "audio/mpeg", false),
    ("mp4", "video/mp4", false),
    ("mpeg", "video/mpeg", false),
    ("oga", "audio/ogg", false),
    ("ogg", "audio/ogg", false),
    ("ogv", "video/ogg", false),
    ("opus", "audio/ogg", false),
    ("otf", "font/otf", true),
    ("pdf", "application/pdf", false),
    ("png", "image/png", false),
    ("rss", "application/rss+xml; charset=utf-8", true),
    ("rtf", "application/rtf", true),
    ("svg", "image/svg+xml; charset=utf-8", true),
    ("tar", "application/x-tar", false),
    ("tif", "image/tiff", false),
    ("tiff", "image/tiff", false),
    ("ttf", "font/ttf", true),
    ("txt", "text/plain; charset=utf-8", true),
    ("vtt", "text/vtt; charset=utf-8", true),
    ("wasm", "application/wasm", true),
    ("wav", "audio/wav", false),
    ("weba", "audio/webm", false),
    ("webm", "video/webm", false),
    ("webmanifest", "application/manifest+json", true),
    ("webp", "image/webp", false),
    ("woff", "font/woff", false),
    ("woff2", "font/woff2", false),
    ("xhtml", "application/xhtml+xml; charset=utf-8", true),
    ("xml", "application/xml; charset=utf-8", true),
    ("xsl", "application/xml; charset=utf-8", true),
    ("yaml", "application/yaml; charset=utf-8", true),
    ("yml", "application/yaml; charset=utf-8", true),
    ("zip", "application/zip", false),
    ("zst", "application/zstd", false),
];

/// The kind of the file with this name.
pub(crate) fn of(name: &[u8]) -> Kind {
    const LONGEST: usize = 11;
    let Some(dot) = memchr::memrchr(b'.', name) else { return UNKNOWN };
    let end = &name[dot + 1..];
    if LONGEST < end.len() {
        return UNKNOWN;
    }
    let mut lower = [0; LONGEST];
    let lower = &mut lower[..end.len()];
    lower.copy_from_slice(end);
    lower.make_ascii_lowercase();
    match KINDS.binary_search_by(|(known, ..)| known.as_bytes().cmp(lower)) {
        Ok(at) => Kind { name: KINDS[at].1, compresses: KINDS[at].2 },
        Err(_) => UNKNOWN,
    }
}

/// All that are known.
#[cfg(test)]
pub(crate) fn kinds() -> impl Iterator<Item = Kind> {
    KINDS.iter().map(|(_, name, compresses)| Kind { name, compresses: *compresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_the_end_of_a_name() {
        assert!(KINDS.is_sorted_by(|one, other| one.0 < other.0));
        for (end, name, _) in KINDS {
            assert_eq!(of(format!("a/b.c.{}", end.to_uppercase()).as_bytes()).name, *name);
        }
        for name in ["", "css", "a.", "a.b/c", "a.unknown", "a.webmanifestx"] {
            assert_eq!(of(name.as_bytes()), UNKNOWN, "{name}");
        }
    }
}
