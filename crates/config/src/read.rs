//! A TOML document as values with places.

use std::{collections::BTreeMap, ops::Range};

use toml_edit::{Document, Item, TableLike, Value};

use crate::{
    keys,
    problem::{Place, Problem},
    source::{Source, Table},
};

/// A value as it was given, before anybody asks what it should be.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Given>),
    Table(Vec<(String, Given)>),
    Other(&'static str),
}

impl Raw {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    File(Place),
    /// A variable, which holds text only.
    Variable(String),
    /// A word of the command line, which is text only too.
    Flag(&'static str),
}

impl Origin {
    /// Whether it can hold nothing but text, whatever is meant.
    pub(crate) fn is_word(&self) -> bool {
        !matches!(self, Self::File(_))
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(place) => place.shown(),
            Self::Variable(name) => name.clone(),
            Self::Flag(name) => (*name).to_owned(),
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// The values of the file by dotted path. Unknown keys are problems; a file that has no table of ours is an error.
pub(crate) fn read(source: &Source, problems: &mut Vec<Problem>) -> Result<BTreeMap<String, Given>, Box<Problem>> {
    let reader = Reader { source };
    let document = Document::parse(source.text.as_str()).map_err(|error| {
        let place = reader.place(error.span().unwrap_or(0..0));
        Problem::new("this is not TOML").at(Some(place)).note(error.message().trim())
    })?;
    let root: &dyn TableLike = document.as_table();
    let table = match source.table {
        Table::Root => root,
        Table::ToolTierce => reader.own_table(root)?,
    };
    let mut values = BTreeMap::new();
    reader.keys("", table, &mut values, problems);
    Ok(values)
}

/// Whether a pyproject.toml has a table `[tool.tierce]`, however it is written; or might, were it TOML.
pub(crate) fn speaks_of_us(text: &str) -> bool {
    match Document::parse(text) {
        Ok(document) => own_item(document.as_table()).is_some(),
        Err(_) => text.contains("tool.tierce"),
    }
}

fn own_item(root: &dyn TableLike) -> Option<&Item> {
    root.get("tool").and_then(Item::as_table_like).and_then(|tool| tool.get("tierce"))
}

struct Reader<'a> {
    source: &'a Source,
}

impl Reader<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let file = self.source.file.clone().unwrap_or_default();
        let shown = file.strip_prefix(&self.source.project).map(ToOwned::to_owned).unwrap_or(file);
        Place::new(shown, &self.source.text, span)
    }

    fn own_table<'d>(&self, root: &'d dyn TableLike) -> Result<&'d dyn TableLike, Box<Problem>> {
        let Some(item) = own_item(root) else {
            let file = self.source.file.clone().unwrap_or_default();
            let problem = Problem::new(format!("{} has no [tool.tierce]", file.display()));
            return Err(Box::new(problem.hint("the configuration is this table, or a file tierce.toml")));
        };
        item.as_table_like().ok_or_else(|| {
            let kind = self.given(item, None).raw.kind();
            let place = item.span().map(|span| self.place(span));
            Box::new(Problem::new(format!("`tool.tierce`: expected a table, found {kind}")).at(place))
        })
    }

    fn keys(
        &self,
        prefix: &str,
        table: &dyn TableLike,
        values: &mut BTreeMap<String, Given>,
        problems: &mut Vec<Problem>,
    ) {
        for (name, item) in table.iter() {
            let path = format!("{prefix}{name}");
            let key_span = table.key(name).and_then(toml_edit::Key::span);
            if prefix.is_empty()
                && keys::TABLES.contains(&name)
                && let Some(inner) = item.as_table_like()
            {
                self.keys(&format!("{path}."), inner, values, problems);
            } else if keys::is_known(&path) {
                values.insert(path, self.given(item, key_span));
            } else if keys::TABLES.contains(&path.as_str()) {
                let problem = Problem::new(format!("`{path}` is a table of keys"));
                problems.push(problem.at(key_span.map(|span| self.place(span))));
            } else {
                problems.push(self.unknown(&path, key_span, item));
            }
        }
    }

    fn unknown(&self, path: &str, span: Option<Range<usize>>, item: &Item) -> Problem {
        let mut problem = Problem::new(format!("unknown key `{path}`")).at(span.map(|span| self.place(span)));
        let (meant, hint) = keys::suggest(path);
        if let Some(meant) = meant {
            problem = problem.note(format!("did you mean `{meant}`?"));
            if let Some(line) = self.corrected(path, meant, item) {
                problem = problem.hint(format!("write `{line}`"));
            }
        }
        match hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }

    /// The line with the key that was meant. Only at the top, where it is one line whichever way tables are written.
    fn corrected(&self, path: &str, meant: &str, item: &Item) -> Option<String> {
        const LONGEST: usize = 60;
        let value = self.source.text.get(item.as_value()?.span()?)?;
        let at_the_top = !path.contains('.') && !meant.contains('.');
        (at_the_top && value.len() <= LONGEST && !value.contains('\n')).then(|| format!("{meant} = {value}"))
    }

    fn given(&self, item: &Item, key: Option<Range<usize>>) -> Given {
        let span = item.span().or(key).unwrap_or(0..0);
        let raw = match item {
            Item::Value(value) => self.raw(value),
            Item::Table(table) => self.table(table),
            Item::ArrayOfTables(tables) => Raw::List(tables.iter().map(|table| self.one_table(table)).collect()),
            Item::None => Raw::Other("nothing"),
        };
        Given { raw, origin: Origin::File(self.place(span)) }
    }

    fn raw(&self, value: &Value) -> Raw {
        match value {
            Value::String(text) => Raw::Text(text.value().clone()),
            Value::Integer(number) => Raw::Number(*number.value()),
            Value::Boolean(flag) => Raw::Flag(*flag.value()),
            Value::Float(_) => Raw::Other("a fraction"),
            Value::Datetime(_) => Raw::Other("a date"),
            Value::Array(list) => Raw::List(list.iter().map(|value| self.element(value)).collect()),
            Value::InlineTable(table) => self.table(table),
        }
    }

    fn element(&self, value: &Value) -> Given {
        Given { raw: self.raw(value), origin: Origin::File(self.place(value.span().unwrap_or(0..0))) }
    }

    fn one_table(&self, table: &toml_edit::Table) -> Given {
        Given { raw: self.table(table), origin: Origin::File(self.place(table.span().unwrap_or(0..0))) }
    }

    fn table(&self, table: &dyn TableLike) -> Raw {
        let entry = |(name, item): (&str, &Item)| {
            let key = table.key(name).and_then(toml_edit::Key::span);
            (name.to_owned(), self.given(item, key))
        };
        Raw::Table(table.iter().map(entry).collect())
    }
}
