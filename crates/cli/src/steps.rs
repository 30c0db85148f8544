//! Progress on long steps: a line that moves on a terminal, plain lines elsewhere.

use std::{io::IsTerminal, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use supervise::Step;

use crate::{args::Args, say};

/// Shows steps as they come.
#[derive(Debug)]
pub(crate) struct Steps {
    quiet: bool,
    verbose: bool,
    terminal: bool,
    bar: Option<ProgressBar>,
}

impl Steps {
    pub(crate) fn new(args: &Args) -> Self {
        Self { quiet: args.quiet, verbose: args.verbose, terminal: std::io::stderr().is_terminal(), bar: None }
    }

    /// Shows one.
    pub(crate) fn show(&mut self, step: Step) {
        if self.quiet {
            return;
        }
        match step {
            Step::Begin { what } if self.terminal => {
                let style = ProgressStyle::with_template("{spinner} {prefix} … {elapsed} {wide_msg:.dim}");
                let bar = ProgressBar::new_spinner().with_prefix(what);
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.enable_steady_tick(Duration::from_millis(120));
                self.bar = Some(bar);
            }
            Step::Begin { what } => say::message(&format!("  {what} …")),
            Step::Output { line } => {
                if self.verbose {
                    self.clear();
                    say::message(&format!("  | {line}"));
                } else if let Some(bar) = &self.bar {
                    bar.set_message(line);
                }
            }
            Step::End { what, took } => {
                self.clear();
                say::message(&format!("✓ {what} ({:.1} s)", took.as_secs_f64()));
            }
            Step::Note { what } => {
                self.clear();
                say::message(&format!("  {what}"));
            }
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.clear();
    }
}
