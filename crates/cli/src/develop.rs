//! `up --reload`: a change of the project's files reloads the application.
//!
//! Invariant: one reload at a time, and one more when something has changed since it began. What a reload is stands in
//! `reload`, which files count in `supervise::watch`, when it is time in `policy::changes`.

use std::{
    convert::Infallible,
    fs,
    future::pending,
    path::{Path, PathBuf},
    time::Instant,
};

use policy::Changes;
use supervise::{Noticed, Watch};
use tokio::task::spawn_local;

use crate::{
    application::{Application, Hold},
    differences::Told,
    reload::NotRenewed,
    running::Running,
};

impl Running {
    /// Follows the files for ever; without a watch there is nothing to follow.
    pub(crate) async fn develop(&self, watch: Option<Watch>) -> Infallible {
        let (Some(app), Some(mut watch)) = (&self.app, watch) else { return pending().await };
        let (mut changes, mut hold) = (Changes::default(), None);
        loop {
            tokio::select! {
                noticed = watch.next() => match noticed {
                    Noticed::Changed(file, change) => {
                        changes.note(Instant::now(), file, change);
                        // What is asked from now on is for the new code.
                        hold.get_or_insert_with(|| app.hold());
                    }
                    Noticed::Blind(why) => self.say(&why.to_string()),
                },
                () = until(changes.due()) => {
                    let (files, hold) = (changes.take(), hold.take());
                    if !files.is_empty() {
                        self.reload_after(app, &files, hold).await;
                        watch.follow(&self.config());
                    }
                }
            }
        }
    }

    async fn reload_after(&self, app: &Application, files: &[PathBuf], mut hold: Option<Hold<'_>>) {
        let changed = names(files, &self.config().project);
        loop {
            // The generation before may still be on its way out, or somebody scales.
            app.supervisor.until_idle().await;
            match self.renew(Some(&changed), hold.take(), Told::Log).await {
                Ok(renewed) => {
                    let line = format!("↻ {changed} changed: {}", renewed.text);
                    self.note(&line);
                    spawn_local(renewed.retire());
                    return;
                }
                Err(NotRenewed::Failed(failure)) => {
                    self.say(&format!("✗ {changed} changed: {}; waiting for a change", failure.line()));
                    self.record(&failure.text);
                    return;
                }
                // Somebody was quicker.
                Err(NotRenewed::Busy(_)) => {}
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// `app.py`, `app.py and settings.py`, `app.py and 3 more`.
fn names(files: &[PathBuf], project: &Path) -> String {
    // Changes are told by the path that the kernel knows.
    let project = fs::canonicalize(project).unwrap_or_else(|_| project.to_owned());
    let name = |file: &PathBuf| match file.strip_prefix(&project) {
        Ok(within) if within.as_os_str().is_empty() => "the project".to_owned(),
        Ok(within) => within.display().to_string(),
        Err(_) => file.display().to_string(),
    };
    match files {
        [] => String::new(),
        [one] => name(one),
        [one, other] => format!("{} and {}", name(one), name(other)),
        [first, others @ ..] => format!("{} and {} more", name(first), others.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_named_shortly() {
        let names = |files: &[&str]| {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            names(&files, Path::new("/nowhere/p"))
        };
        assert_eq!(names(&["/nowhere/p/a/b.py"]), "a/b.py");
        assert_eq!(names(&["/nowhere/p/b.py", "/elsewhere/c.py"]), "b.py and /elsewhere/c.py");
        assert_eq!(names(&["/nowhere/p/1.py", "/nowhere/p/2.py", "/nowhere/p/3.py"]), "1.py and 2 more");
        assert_eq!(names(&["/nowhere/p"]), "the project");
    }
}
