//! Output that survives a closed pipe: `tierce ps | head` is no error.
//!
//! Invariant: commands in hints are written as `` `tierce …` `` everywhere, and shown as they have to be typed here.

use std::io::{self, Write};

use telemetry::LogSink;

/// A result, to standard output.
pub(crate) fn result(text: &str) {
    // A reader that has gone does not want it.
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// How things go, which is no error: with `--quiet` only for those who read the log.
pub(crate) fn note(sink: &LogSink, quiet: bool, text: &str) {
    if quiet { sink.record(text) } else { sink.message(text) }
}

/// A message, to standard error; `error:` and `hint:` are coloured on a terminal.
pub(crate) fn message(text: &str) {
    let (program, mut lines) = (program(), Vec::new());
    for line in text.lines() {
        lines.push(if line.starts_with("  hint:") { typed(line, &program) } else { line.to_owned() });
    }
    let painted = paint(&lines.join("\n"));
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

/// A hint with its commands as they have to be typed.
pub(crate) fn hint(text: &str) -> String {
    typed(text, &program())
}

fn typed(hint: &str, program: &str) -> String {
    hint.replace("`tierce ", &format!("`{program} "))
}

/// How this program was called, project included: what hints tell people to type.
pub(crate) fn program() -> String {
    called(std::env::args_os().map(|word| word.to_string_lossy().into_owned()))
}

fn called(mut words: impl Iterator<Item = String>) -> String {
    let mut called = quoted(&words.next().unwrap_or_else(|| "tierce".to_owned()));
    while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
        if matches!(word.as_str(), "-C" | "--directory" | "-c" | "--config") {
            let value = quoted(&words.next().unwrap_or_default());
            called = format!("{called} {word} {value}");
        } else if word == "--format" {
            // Its value is no command.
            words.next();
        } else if ["-C", "-c", "--directory=", "--config="].iter().any(|option| word.starts_with(option)) {
            called = format!("{called} {}", quoted(&word));
        }
    }
    called
}

/// A word as a shell takes it for one.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./=:@%+,-".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Items beside each other, as many as a line of a terminal has room for.
pub(crate) fn folded(items: &[String]) -> Vec<String> {
    const WIDTH: usize = 80;
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + item.chars().count() <= WIDTH => {
                *line = format!("{line}   {item}")
            }
            _ => lines.push(format!("  {item}")),
        }
    }
    lines
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
    fn what_comes_next_fits_into_a_terminal() {
        let items =
            ["scale web=2", "ps", "logs -f", "reload"].map(|command| format!("tierce -C examples/hello {command}"));
        let lines = folded(&items);
        assert_eq!(lines[0], "  tierce -C examples/hello scale web=2   tierce -C examples/hello ps");
        assert_eq!(lines.len(), 2);
        assert_eq!(folded(&["x".repeat(100)]), [format!("  {}", "x".repeat(100))], "a word is not broken");
    }

    #[test]
    fn hints_name_the_project_as_it_was_named() {
        for (line, expected) in [
            ("tierce up", "tierce"),
            ("./t -C a/b up -d -C x", "./t -C a/b"),
            ("tierce --quiet --config=c.toml ps", "tierce --config=c.toml"),
            ("tierce --format json -C a ps", "tierce -C a"),
            ("tierce", "tierce"),
        ] {
            assert_eq!(called(line.split(' ').map(ToOwned::to_owned)), expected);
        }
        let words = ["./t", "-C", "my app", "up"].map(ToOwned::to_owned);
        let program = called(words.into_iter());
        assert_eq!(program, "./t -C 'my app'");
        assert_eq!(typed("look: `tierce logs`, or `app`", &program), "look: `./t -C 'my app' logs`, or `app`");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
