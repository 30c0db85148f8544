//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::BoolishValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{exit::Exit, foreign, say};

/// Runs a Python web application behind a balancer, scales it live, and loses no request.
#[derive(Debug, Parser)]
#[command(name = "tierce", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Args {
    /// The project's directory; default: that of the configuration file, searched upwards from here
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// The configuration file; default: tierce.toml, else [tool.tierce] in pyproject.toml
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) format: Format,
    /// Print errors only
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Print more, for example what pip says
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start: prepare the interpreter, start nodes and workers, serve
    Up(Up),
    /// Only the balancer: requests go to other servers
    Edge(Edge),
    /// The program of a container: the application in one node, which takes leave of its balancers before it stops
    Node(Contained),
    /// Prepare .tierce/venv from requirements.txt or pyproject.toml
    Build,
    /// More or fewer nodes, live: tierce scale web=5
    Scale(Scale),
    /// Nodes and workers: state, requests, slots, memory
    Ps,
    /// What the application has printed, and the access log
    Logs(Logs),
    /// New code and configuration, without losing a request; what differs in the configuration is shown first
    Reload(Reload),
    /// Replace the nodes one at a time, without losing a request
    Restart,
    /// Fork the workers anew, from the one that has served most: they start warm, and share its memory
    Refork(Refork),
    /// One node gets nothing new, at once, until it is told to be ready: tierce drain web.3
    Drain(Node),
    /// A drained node gets requests again
    Ready(Node),
    /// One node gets more or fewer requests than the others, which have 100: tierce weight web.3 10
    Weight(Weight),
    /// Finish what was accepted, then stop
    Down,
    /// Check the configuration and import the application, without serving
    Check,
    /// Follows containers for an edge, which has started it
    #[command(hide = true)]
    Discover(Discover),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// The application as module:callable; default: `app` of the configuration, else what is found
    pub(crate) app: Option<String>,
    /// In the background; returns when all nodes are ready
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// The same as -d, which waits anyway
    #[arg(long)]
    pub(crate) wait: bool,
    /// Processes per node: 4, 2..8 or auto
    #[arg(short, long, value_name = "N")]
    pub(crate) workers: Option<String>,
    /// Most requests in flight in one worker
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<String>,
    /// Where to listen: HOST:PORT, :PORT, unix:PATH, http://… or uwsgi://…; may be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<String>,
    /// Time limit from the call of the application to the head of its response: 30 or 30s
    #[arg(short, long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Number of nodes: web=5
    #[arg(long, value_name = "NAME=N")]
    pub(crate) scale: Option<String>,
    /// The interpreter
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<String>,
    /// For development: reload when a file of the project changes, show errors in the browser
    #[arg(long, env = "TIERCE_RELOAD", hide_env = true, value_parser = BoolishValueParser::new())]
    pub(crate) reload: bool,
    /// The access log: auto, text, json, combined or off
    #[arg(long, value_name = "HOW")]
    pub(crate) access_log: Option<String>,
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct Edge {
    /// Where to listen: HOST:PORT, :PORT, unix:PATH, http://… or uwsgi://…; may be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<String>,
    /// Where requests go: http://HOST:PORT, unix:PATH, uwsgi://HOST:PORT or uwsgi:PATH; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Vec<String>,
    /// Who tells where requests go, in place of --upstream: docker
    #[arg(long, value_name = "WHO")]
    pub(crate) discover: Option<String>,
    /// Threads
    #[arg(long, value_name = "N")]
    pub(crate) cores: Option<String>,
    /// Time limit from the request to the head of its response: 30 or 30s
    #[arg(short, long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// The access log: auto, text, json or off
    #[arg(long, value_name = "HOW")]
    pub(crate) access_log: Option<String>,
    /// In the background
    #[arg(short, long)]
    pub(crate) detach: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Contained {
    /// The application as module:callable; default: `app` of the configuration, else what is found
    pub(crate) app: Option<String>,
    /// Processes: 4, 2..8 or auto
    #[arg(short, long, value_name = "N")]
    pub(crate) workers: Option<String>,
    /// Most requests in flight in one worker
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<String>,
    /// Where to listen: HOST:PORT, :PORT, unix:PATH, http://… or uwsgi://…; may be repeated; default: http://0.0.0.0:8080
    #[arg(short, long, value_name = "ADDRESS")]
    pub(crate) bind: Vec<String>,
    /// Time limit from the call of the application to the head of its response: 30 or 30s
    #[arg(short, long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// The interpreter; default: the first of $VIRTUAL_ENV, .venv, .tierce/venv and python3 that has the packages
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<String>,
    /// The access log: auto, text, json, combined or off
    #[arg(long, value_name = "HOW")]
    pub(crate) access_log: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Discover {
    #[arg(long)]
    pub(crate) socket: PathBuf,
    #[arg(long)]
    pub(crate) project: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Scale {
    /// The service and its number of nodes: web=5
    #[arg(required = true, value_name = "NAME=N")]
    pub(crate) targets: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    /// Only show what differs in the configuration, and what is wrong with it; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Refork {
    /// Only of these nodes: web.1
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Node {
    /// Its name: web.3
    pub(crate) node: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Weight {
    /// Its name: web.3
    pub(crate) node: String,
    /// 1 to 1000
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(policy::Standing::WEIGHT_MAX)))]
    pub(crate) weight: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Only of this node: web.1
    pub(crate) node: Option<String>,
    /// Go on with what is logged from now on
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// How many lines to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
}

/// Reads the command line; on failure everything has been said.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Args, Exit> {
    let words: Vec<_> = words.collect();
    Args::try_parse_from(&words).map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            say::result(error.render().ansi().to_string().trim_end());
            return Exit::DONE;
        }
        let texts: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let known = misplaced(&error, &texts).or_else(|| foreign::translate(&texts));
        say::message(&known.unwrap_or_else(|| error.render().to_string().trim_end().to_owned()));
        Exit::USAGE
    })
}

/// What to write when an option that stands before the command stands behind it.
fn misplaced(error: &clap::Error, words: &[String]) -> Option<String> {
    let ContextValue::String(option) = error.get(ContextKind::InvalidArg)? else { return None };
    let option = option.split('=').next()?;
    if error.kind() != ErrorKind::UnknownArgument || !["-C", "--directory", "-c", "--config"].contains(&option) {
        return None;
    }
    let at = words.iter().position(|word| word.starts_with(option))?;
    // `-Cdir` and `--config=x` are one word, `-C dir` are two.
    let end = if words[at] == option { (at + 2).min(words.len()) } else { at + 1 };
    let front = [&words[at..end], &words[1..at], &words[end..]].concat();
    let command = front.iter().map(|word| say::quoted(word)).collect::<Vec<_>>().join(" ");
    Some(format!("error: {option} stands before the command\n  hint: `tierce {command}`"))
}

/// `web=5`.
pub(crate) fn name_and_number(text: &str) -> Result<(String, u32), String> {
    let wrong = || format!("error: {text:?} is not NAME=N\n  hint: write it like web=5");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    match number.parse::<u32>() {
        Ok(number) if number <= 1000 && !name.is_empty() => Ok((name.to_owned(), number)),
        Ok(_) if !name.is_empty() => Err(format!("error: {number} nodes are more than the 1000 that are possible")),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_of_all_commands_stand_before_them() {
        for (line, expected) in [
            ("tierce up -C dir main:app", Some("`tierce -C dir up main:app`")),
            ("tierce ps -Cdir", Some("`tierce -Cdir ps`")),
            ("tierce --quiet logs --config=a.toml -f", Some("`tierce --config=a.toml --quiet logs -f`")),
            ("tierce ps -c", Some("`tierce -c ps`")),
            ("tierce ps --nonsense", None),
            ("tierce up --wrong -C dir", None),
        ] {
            let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
            let error = Args::try_parse_from(&words).unwrap_err();
            let text = misplaced(&error, &words);
            assert_eq!(text.as_deref().and_then(|text| text.split("hint: ").nth(1)), expected, "{line}");
        }
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(name_and_number("web=5"), Ok(("web".to_owned(), 5)));
        assert_eq!(name_and_number("web=0"), Ok(("web".to_owned(), 0)));
        for text in ["web", "=5", "web=", "web=x", "web=-1", "web=1001"] {
            assert!(name_and_number(text).is_err(), "{text}");
        }
    }
}
