//! What is wrong, where, and what to do.

use std::{fmt, path::PathBuf};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    source: String,
    width: usize,
}

impl Place {
    /// The place of the bytes `span` of `text`.
    pub(crate) fn new(file: PathBuf, text: &str, span: std::ops::Range<usize>) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, span.end).clamp(start, line_end);
        Self {
            file,
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            source: text[line_start..line_end].replace('\t', " ").trim_end().to_owned(),
            width: text[start..end].chars().count().max(1),
        }
    }
}

impl Place {
    /// On one line: ``tierce.toml:3:9, `app = "shop:app"` ``.
    pub(crate) fn shown(&self) -> String {
        format!("{}:{}:{}, `{}`", self.file.display(), self.line, self.column, self.source.trim())
    }
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In one line.
    pub what: String,
    /// Where in a file.
    pub place: Option<Place>,
    /// Said under the caret.
    pub note: Option<String>,
    /// What to do; commands as `` `tierce …` ``, which are shown as they have to be typed.
    pub hint: Option<String>,
    /// What has to be corrected.
    pub whose: Whose,
}

/// What has to be corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The project: its configuration, its files, its environment.
    Projects,
    /// The command, as it was typed.
    CommandLines,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: None, note: None, hint: None, whose: Whose::Projects }
    }

    pub(crate) fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    pub(crate) fn of_command_line(mut self) -> Self {
        self.whose = Whose::CommandLines;
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, "{margin}--> {}:{}:{}", place.file.display(), place.line, place.column)?;
            writeln!(f, "{margin} |")?;
            writeln!(f, "{number} | {}", place.source)?;
            let caret = format!("{}{}", " ".repeat(place.column - 1), "^".repeat(place.width));
            let note = self.note.as_deref().unwrap_or_default();
            writeln!(f, "{}", format!("{margin} | {caret} {note}").trim_end())?;
        } else if let Some(note) = &self.note {
            writeln!(f, "  {note}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Whether another command line is all that is needed.
    pub fn are_the_command_lines(&self) -> bool {
        self.0.iter().all(|problem| problem.whose == Whose::CommandLines)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            if 0 < nth {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
