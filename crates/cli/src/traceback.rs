//! Where in the project a traceback ends: what whoever wrote the code wants to see first.
//!
//! Invariant: a text of any form is taken; what is not understood is only not pointed out.

use std::path::Path;

/// A line of the project's own code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    /// `package/module.py:3`
    pub(crate) name: String,
    /// The line, and what Python has marked in it.
    pub(crate) excerpt: String,
}

/// The last place in the project's own code.
pub(crate) fn spot(traceback: &str, project: &Path) -> Option<Spot> {
    let lines: Vec<_> = traceback.lines().collect();
    let at = (0..lines.len()).rev().find(|at| own_place(lines[*at], project).is_some())?;
    let excerpt: Vec<_> = lines[at + 1..].iter().map_while(|line| line.strip_prefix("    ")).collect();
    Some(Spot { name: own_place(lines[at], project)?, excerpt: excerpt.join("\n") })
}

/// `package/module.py:3`, if the line begins a frame of the project's own code.
pub(crate) fn own_place(line: &str, project: &Path) -> Option<String> {
    let (file, rest) = line.strip_prefix("  File \"")?.split_once("\", line ")?;
    let number: u32 = rest.split(',').next()?.trim().parse().ok()?;
    let file = Path::new(file).strip_prefix(project).ok()?;
    let is_others = |part: &std::ffi::OsStr| part == "site-packages" || part.as_encoded_bytes().starts_with(b".");
    (!file.iter().any(is_others)).then(|| format!("{}:{number}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot_in(traceback: &str) -> Option<(String, String)> {
        spot(traceback, Path::new("/p")).map(|spot| (spot.name, spot.excerpt))
    }

    #[test]
    fn the_last_line_of_the_projects_own_code_is_found() {
        let text = "Traceback (most recent call last):\n  File \"/p/app.py\", line 3, in <module>\n    import shop\n  \
                    File \"/p/shop/db.py\", line 12, in connect\n    driver.open(url)\n    ~~~~~~~~~~~^^^^^\n  \
                    File \"/p/.venv/lib/driver.py\", line 5, in open\n    raise Refused\ndriver.Refused\n";
        let expected = ("shop/db.py:12".to_owned(), "driver.open(url)\n~~~~~~~~~~~^^^^^".to_owned());
        assert_eq!(spot_in(text), Some(expected));
    }

    #[test]
    fn a_syntax_error_is_where_python_says() {
        let text = "  File \"/p/app.py\", line 2\n    def f(\n         ^\nSyntaxError: '(' was never closed\n";
        assert_eq!(spot_in(text), Some(("app.py:2".to_owned(), "def f(\n     ^".to_owned())));
    }

    #[test]
    fn other_texts_have_none() {
        for text in [
            "",
            "ERROR: No matching distribution found for flask\n",
            "  File \"/usr/lib/python3/json.py\", line 5, in x\n    y\n",
            "  File \"/p/app.py\", line x\n",
            "  File \"/p/lib/site-packages/a.py\", line 1, in x\n",
            "  File \"<frozen importlib>\", line 1, in x\n",
        ] {
            assert_eq!(spot_in(text), None, "{text}");
        }
    }
}
