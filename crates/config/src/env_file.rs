//! KEY=VALUE lines: comments with `#`, values bare or in quotes, `export` allowed in front.

use std::{collections::BTreeMap, path::Path};

use crate::problem::{Place, Problem};

/// Reads the `text` of the file `path`; every line that cannot be read is a problem of its own.
pub(crate) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        match entry(line.trim()) {
            Ok(Some((name, value))) => {
                values.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(what) => {
                let indent = line.len() - line.trim_start().len();
                let place = Place::new(path.to_owned(), text, start + indent..start + line.trim_end().len());
                problems.push(Problem::new(what).at(Some(place)).hint("each line is KEY=VALUE, a comment or empty"));
            }
        }
        start += line.len();
    }
    values
}

fn entry(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("this line has no `=`")?;
    let name = name.trim();
    if !is_name(name) {
        return Err("this is not the name of a variable");
    }
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let inner = rest.split_once(quote).ok_or("the quote is not closed")?;
            if !(inner.1.trim().is_empty() || inner.1.trim().starts_with('#')) {
                return Err("something follows the closing quote");
            }
            return Ok(Some((name, inner.0.to_owned())));
        }
    }
    let bare = value.split_once(" #").map_or(value, |(value, _)| value.trim_end());
    if bare.contains('\0') {
        return Err("the value holds a NUL");
    }
    Ok(Some((name, bare.to_owned())))
}

/// What the shell takes for a variable's name.
pub(crate) fn is_name(name: &str) -> bool {
    let start = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    start && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (line, expected) in [
            ("A=b", Ok(Some(("A", "b")))),
            ("export A = b c # d", Ok(Some(("A", "b c")))),
            ("A=\"b # c\" # d", Ok(Some(("A", "b # c")))),
            ("A='b=c'", Ok(Some(("A", "b=c")))),
            ("A=", Ok(Some(("A", "")))),
            ("# A=b", Ok(None)),
            ("", Ok(None)),
            ("A", Err(())),
            ("1A=b", Err(())),
            ("A=\"b", Err(())),
            ("A=\"b\" c", Err(())),
        ] {
            let got = entry(line).map_err(|_| ());
            assert_eq!(
                got.as_ref().map(|e| e.as_ref().map(|(n, v)| (*n, v.as_str()))),
                expected.as_ref().map(|e| *e),
                "{line}"
            );
        }
    }
}
