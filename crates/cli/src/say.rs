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
        for (word, code) in [("error:", "1;31"), ("  hint:", "1;36"), ("✓", "32"), ("↻", "36"), ("✗", "31")] {
            if let Some(rest) = line.strip_prefix(word) {
                return format!("\x1b[{code}m{word}\x1b[0m{rest}");
            }
        }
        line.to_owned()
    };
    text.lines().map(paint_line).collect::<Vec<_>>().join("\n")
}

/// How this program was called, project included: what hints tell people to type.
pub(crate) fn program() -> String {
    called(std::env::args())
}

fn called(mut words: impl Iterator<Item = String>) -> String {
    let mut called = words.next().unwrap_or_else(|| "tierce".to_owned());
    while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
        if matches!(word.as_str(), "-C" | "--directory" | "-c" | "--config") {
            let value = words.next().unwrap_or_default();
            called = format!("{called} {word} {value}");
        } else if ["-C", "-c", "--directory=", "--config="].iter().any(|option| word.starts_with(option)) {
            called = format!("{called} {word}");
        }
    }
    called
}

/// Raw bytes to standard output. False: nobody reads any more.
pub(crate) fn raw(bytes: &[u8]) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_project_as_it_was_named() {
        for (line, expected) in [
            ("tierce up", "tierce"),
            ("./t -C a/b up -d -C x", "./t -C a/b"),
            ("tierce --quiet --config=c.toml ps", "tierce --config=c.toml"),
            ("tierce", "tierce"),
        ] {
            assert_eq!(called(line.split(' ').map(ToOwned::to_owned)), expected);
        }
    }
}
