//! A request's head as spans of the buffer that it came in.

/// Bounds of a request's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head; beyond: 431.
    pub head: usize,
    /// Bytes of the target; beyond: 414. Above the 8,000 that RFC 9112 §3 recommends to support.
    pub target: usize,
    /// How many fields; beyond: 431.
    pub fields: usize,
    /// Bytes of one field line; beyond: 431.
    pub field: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 32 * 1024, target: 8 * 1024, fields: 100, field: 16 * 1024 }
    }
}

/// Methods longer than this are no methods: 501 (RFC 9112 §3).
pub(crate) const METHOD_MAX: usize = 32;

/// Why a request is not served; the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong, for people.
    pub why: &'static str,
}

pub(crate) const fn refuse<T>(status: u16, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { status, why })
}

/// A range of bytes in the buffer that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let short = |at| u32::try_from(at).expect("a head is limited to much less than 4 GiB");
        Self { start: short(start), end: short(end) }
    }

    /// The bytes it names in `buffer`.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }

    /// How many bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name as it was written.
    pub name: Span,
    /// Its value without surrounding white space.
    pub value: Span,
    /// What it is to the edge.
    pub kind: FieldKind,
}

/// What the edge has to know of a field without comparing names again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Nothing: it is passed on.
    Other,
    /// Host.
    Host,
    /// Content-Length.
    ContentLength,
    /// Transfer-Encoding.
    TransferEncoding,
    /// Connection.
    Connection,
    /// For this connection only: by RFC 9110 §7.6.1, or because Connection names it.
    HopByHop,
    /// Expect.
    Expect,
    /// By which a proxy tells of the client: Forwarded, X-Forwarded-*, X-Real-IP.
    Forwarding,
    /// X-Request-Id.
    RequestId,
    /// traceparent.
    TraceParent,
    /// tracestate, which says nothing without the other.
    TraceState,
    /// A name with `_`, which CGI variables cannot tell from `-`.
    Underscore,
    /// Proxy, which becomes the variable HTTP_PROXY.
    Proxy,
    /// No field: a variable of a [`Gateway`], which keeps its name.
    Variable,
}

/// The version that the client speaks; 1.2 to 1.9 count as 1.1 (RFC 9110 §2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

/// How the client speaks to whoever is in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plainly.
    #[default]
    Http,
    /// Through TLS.
    Https,
}

/// What a gateway, which speaks uwsgi, tells of the client besides its request. What it does not tell is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateway {
    /// The client's address.
    pub client: Span,
    /// The client's port.
    pub client_port: Span,
    /// The protocol that the client speaks: `HTTP/2.0`.
    pub protocol: Span,
    /// The client's scheme.
    pub scheme: Scheme,
}

/// How a request's body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A request's head. Spans are valid in the buffer that was parsed. Made to be used again for the next request.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// `GET`, …
    pub method: Span,
    /// The client's version.
    pub version: Version,
    /// As it came.
    pub target: Span,
    /// The path within the target; empty for an absolute form without one, which means `/`.
    pub path: Span,
    /// What follows the `?`.
    pub query: Span,
    /// The host of the target, if that is a whole URL, else the Host field's value.
    pub host: Option<Span>,
    /// All fields in order.
    pub fields: Vec<Field>,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the client wants to go on with this connection.
    pub keep_alive: bool,
    /// Whether it waits for `100 Continue`.
    pub expects_continue: bool,
    /// The method is HEAD.
    pub is_head: bool,
    /// The target is `*`, or for OPTIONS a URL that ends with its host: the server itself is asked, and not for a path.
    pub is_asterisk: bool,
    /// It came as a uwsgi packet.
    pub gateway: Option<Gateway>,
}

impl RequestHead {
    /// The version that decides how the answer is framed: a gateway takes no chunks.
    pub fn answer_version(&self) -> Version {
        if self.gateway.is_some() { Version::Http10 } else { self.version }
    }

    pub(crate) fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Self { fields, ..Self::default() };
    }
}
