//! An HTTP/1.1 reader of its own, written from RFC 9112 and sharing nothing with the program: what a message means if it can
//! be read in one way only, and why not if it cannot.

/// Who has written the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Anybody: all that the standard allows.
    Anybody,
    /// Tierce: one spelling of everything, and nothing that is for one connection only.
    Tierce,
}

/// A message that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The three parts of the first line.
    pub(super) first: [String; 3],
    /// Names in lower case.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// How many bytes it takes.
    pub(super) length: usize,
}

impl Message {
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn status(&self) -> u16 {
        self.first[1].parse().unwrap()
    }
}

/// Why there is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Not {
    /// More would have to come.
    Whole,
    /// It could be read in two ways, or in none.
    Right(String),
    /// It ends with the connection (responses only), after so many bytes of head.
    Ended(usize),
}

fn wrong<T>(what: impl Into<String>) -> Result<T, Not> {
    Err(Not::Right(what.into()))
}

/// All requests in `bytes`, and why there are no more.
pub(super) fn requests(bytes: &[u8], by: By) -> (Vec<Message>, Not) {
    let (mut messages, mut at) = (Vec::new(), 0);
    loop {
        match request(&bytes[at..], by) {
            Ok(message) => {
                at += message.length;
                messages.push(message);
            }
            Err(not) => return (messages, not),
        }
    }
}

/// The request that `bytes` begin with.
pub(super) fn request(bytes: &[u8], by: By) -> Result<Message, Not> {
    let skipped = if by == By::Anybody && bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let (first, fields, head) = head(&bytes[skipped..], by)?;
    let [method, target, version] = [&first[0], &first[1], &first[2]];
    if !is_token(method) || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return wrong(format!("{method} {target}"));
    }
    let is_path = target.starts_with('/');
    match by {
        By::Anybody if is_path || target.contains("://") || (target, method) == (&"*".into(), &"OPTIONS".into()) => {}
        By::Tierce if is_path && version == "HTTP/1.1" => {}
        _ => return wrong(format!("the target or the version: {target} {version}")),
    }
    let minor = match version.strip_prefix("HTTP/1.").map(str::as_bytes) {
        Some([minor @ b'0'..=b'9']) => minor - b'0',
        _ => return wrong(version),
    };
    let hosts = fields.iter().filter(|(name, _)| name == "host").count();
    if 1 < hosts || hosts == 0 && (0 < minor || by == By::Tierce) {
        return wrong(format!("{hosts} hosts"));
    }
    let (length, chunked) = framing(&fields, by)?;
    if chunked && minor == 0 {
        return wrong("chunks in HTTP/1.0");
    }
    let begin = skipped + head;
    let (body, taken) = match (length, chunked) {
        (_, true) => chunks(&bytes[begin..], by)?,
        (Some(length), _) => counted(&bytes[begin..], length)?,
        (None, false) => (Vec::new(), 0),
    };
    if by == By::Tierce {
        is_ours(&fields)?;
    }
    Ok(Message { first, fields, body, length: begin + taken })
}

/// The final response that `bytes` begin with, to a GET, and how many bytes of interim ones stand before it.
pub(super) fn response(bytes: &[u8]) -> Result<(Message, usize), Not> {
    let mut before = 0;
    for _ in 0..16 {
        let (first, fields, head) = head(&bytes[before..], By::Anybody)?;
        let status = match first[1].as_bytes() {
            [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => first[1].parse::<u16>().unwrap(),
            _ => return wrong(&first[1]),
        };
        if !matches!(first[0].as_str(), "HTTP/1.1" | "HTTP/1.0") || status == 101 {
            return wrong(&first[0]);
        }
        let (length, chunked) = framing(&fields, By::Anybody)?;
        if status / 100 == 1 {
            before += head;
            continue;
        }
        let begin = before + head;
        let (body, taken) = match (length, chunked) {
            _ if matches!(status, 204 | 304) => (Vec::new(), 0),
            (_, true) => chunks(&bytes[begin..], By::Anybody)?,
            (Some(length), _) => counted(&bytes[begin..], length)?,
            (None, false) => return Err(Not::Ended(begin)),
        };
        return Ok((Message { first, fields, body, length: begin + taken }, before));
    }
    wrong("there is no end of interim responses")
}

type Head = ([String; 3], Vec<(String, String)>, usize);

fn head(bytes: &[u8], by: By) -> Result<Head, Not> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let text = &bytes[..end.map_or(bytes.len(), |end| end)];
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    let last = lines.len() - 1;
    let bare = |at: usize, line: &[u8]| {
        let inner = if at < last { line.strip_suffix(b"\r") } else { Some(line) };
        // The very last byte that is here may be half of an end.
        let inner = if at == last && end.is_none() {
            inner.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        } else {
            inner
        };
        inner.filter(|line| !line.contains(&b'\r')).map(<[u8]>::to_vec)
    };
    let Some(lines) = lines.iter().enumerate().map(|(at, line)| bare(at, line)).collect::<Option<Vec<_>>>() else {
        return wrong("a line does not end with CRLF");
    };
    let Some(end) = end else { return Err(Not::Whole) };
    let text = |line: &[u8]| line.iter().map(|byte| char::from(*byte)).collect::<String>();
    let first = text(&lines[0]);
    let mut parts = first.splitn(3, ' ').map(str::to_owned);
    let (Some(one), Some(two)) = (parts.next(), parts.next()) else { return wrong(first) };
    // Many servers leave the last space of a response out, where no phrase follows.
    let three = parts.next().unwrap_or_default();
    if !three.chars().all(is_text) || [&one, &two].iter().any(|part| part.is_empty()) {
        return wrong(first);
    }
    let mut fields = Vec::new();
    for line in lines[1..].iter().map(|line| text(line)) {
        let Some((name, value)) = line.split_once(':') else { return wrong(line) };
        let spelt = value.strip_prefix(' ').is_some_and(|value| value == value.trim_matches([' ', '\t']));
        if !is_token(name) || !value.chars().all(is_text) || by == By::Tierce && !spelt {
            return wrong(line);
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(([one, two, three], fields, end + 4))
}

fn is_text(character: char) -> bool {
    matches!(character, '\t' | ' '..='~' | '\u{80}'..='\u{ff}')
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The length, if one is given, and whether there are chunks.
fn framing(fields: &[(String, String)], by: By) -> Result<(Option<u64>, bool), Not> {
    let of = |name: &str| fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value).collect::<Vec<_>>();
    match (&of("content-length")[..], &of("transfer-encoding")[..]) {
        ([], []) => Ok((None, false)),
        ([length], []) => {
            let number = length.parse::<u64>().ok().filter(|_| length.bytes().all(|byte| byte.is_ascii_digit()));
            match number {
                Some(number) if by == By::Anybody || **length == number.to_string() => Ok((Some(number), false)),
                _ => wrong(format!("Content-Length: {length}")),
            }
        }
        ([], [coding]) if *coding == "chunked" => Ok((None, true)),
        ([], [coding]) if by == By::Anybody && coding.eq_ignore_ascii_case("chunked") => Ok((None, true)),
        (lengths, codings) => wrong(format!("{lengths:?} {codings:?}")),
    }
}

fn counted(bytes: &[u8], length: u64) -> Result<(Vec<u8>, usize), Not> {
    match usize::try_from(length) {
        Ok(length) if length <= bytes.len() => Ok((bytes[..length].to_vec(), length)),
        _ => Err(Not::Whole),
    }
}

fn chunks(bytes: &[u8], by: By) -> Result<(Vec<u8>, usize), Not> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (line, next) = line(bytes, at)?;
        let (size, extension) = line.split_once(';').map_or((line.as_str(), None), |(size, rest)| (size, Some(rest)));
        let size = if extension.is_some() { size.trim_end_matches([' ', '\t']) } else { size };
        let digits = size.len() <= 16 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = usize::from_str_radix(size, 16).ok().filter(|_| digits) else { return wrong(line) };
        // Extensions are compared no further: it is enough that nothing in them can end the line.
        if extension.is_some_and(|text| by == By::Tierce || text.is_empty() || !text.chars().all(is_text)) {
            return wrong(line);
        }
        at = next;
        if size == 0 {
            break;
        }
        let (data, taken) = counted(&bytes[at..], size as u64)?;
        body.extend_from_slice(&data);
        at += taken;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            None if b"\r\n".starts_with(&bytes[at..]) => return Err(Not::Whole),
            _ => return wrong("a chunk does not end with CRLF"),
        }
    }
    loop {
        let (trailer, next) = line(bytes, at)?;
        at = next;
        match trailer.split_once(':') {
            None if trailer.is_empty() => return Ok((body, at)),
            Some((name, value)) if is_token(name) && value.chars().all(is_text) && by == By::Anybody => {}
            _ => return wrong(trailer),
        }
    }
}

fn line(bytes: &[u8], at: usize) -> Result<(String, usize), Not> {
    let rest = &bytes[at..];
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Err(Not::Whole) };
    match rest.get(end..end + 2) {
        Some(b"\r\n") => Ok((rest[..end].iter().map(|byte| char::from(*byte)).collect(), at + end + 2)),
        None if rest[end] == b'\r' => Err(Not::Whole),
        _ => wrong("a line does not end with CRLF"),
    }
}

/// What is for one connection only, or could be taken for something of ours, is not passed on.
fn is_ours(fields: &[(String, String)]) -> Result<(), Not> {
    const HERE: [&str; 7] = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy"];
    const ONCE: [&str; 5] = ["host", "x-forwarded-for", "x-forwarded-proto", "x-request-id", "traceparent"];
    const WRITTEN: [&str; 7] =
        ["content-length", "transfer-encoding", "expect", "forwarded", "x-forwarded-host", "x-real-ip", "tracestate"];
    for (name, _) in fields {
        let alike = name.replace('_', "-");
        if HERE.contains(&alike.as_str())
            || name.contains('_') && [&ONCE[..], &WRITTEN].concat().contains(&alike.as_str())
        {
            return wrong(format!("{name} was passed on"));
        }
    }
    match ONCE.iter().find(|once| fields.iter().filter(|(name, _)| name == *once).count() != 1) {
        Some(once) => wrong(format!("{once} is not there once")),
        None => Ok(()),
    }
}
