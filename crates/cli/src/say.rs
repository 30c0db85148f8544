//! Output that survives a closed pipe: `tierce ps | head` is no error.

use std::io::{self, Write};

/// A result, to standard output.
pub(crate) fn result(text: &str) {
    // A reader that has gone does not want it.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// A message, to standard error; `error:` and `hint:` are coloured on a terminal.
pub(crate) fn message(text: &str) {
    let painted = paint(text);
    let _ = writeln!(anstream::stderr(), "{painted}");
}

fn paint(text: &str) -> String {
    let paint_line = |line: &str| {
        for (word, code) in [("error:", "1;31"), ("  hint:", "1;36"), ("✓", "32")] {
            if let Some(rest) = line.strip_prefix(word) {
                return format!("\x1b[{code}m{word}\x1b[0m{rest}");
            }
        }
        line.to_owned()
    };
    text.lines().map(paint_line).collect::<Vec<_>>().join("\n")
}

/// How this program was called: what hints tell people to type.
pub(crate) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tierce".to_owned())
}

/// Raw bytes to standard output. False: nobody reads any more.
pub(crate) fn raw(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}
