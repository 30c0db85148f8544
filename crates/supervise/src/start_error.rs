//! Why a node could not be started, and whose mistake it was.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use config::AppRef;
use rustix::io::Errno;
use sys::User;

use crate::{
    explanation::Explanation,
    interpreter::{Interpreter, Origin},
    node::Plan,
    requirements::Requirements,
};

/// A node could not be started; everything it had is gone again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub Box<Explanation>, pub Blame);

/// Whose mistake it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The application's or the configuration's: trying again helps nobody.
    Application,
    /// What was wanted is not allowed.
    Permission,
    /// The machine's.
    Machine,
}

impl Blame {
    /// Whether the system did not allow it or could not do it.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission,
            _ => Self::Machine,
        }
    }
}

impl StartError {
    pub(crate) fn machine(what: &str, node: &str, cause: &dyn std::fmt::Display) -> Self {
        let explanation = Explanation::new(what).during(format!("starting {node}")).cause(cause.to_string());
        Self(Box::new(explanation), Blame::Machine)
    }

    /// A process of the application could not be started, perhaps as another user.
    pub(crate) fn cannot_execute(python: &Path, node: &str, user: Option<(&str, &User)>, error: &io::Error) -> Self {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        let explanation = match user {
            Some((name, _)) if is(Errno::PERM) => Explanation::new(format!("the application cannot run as {name}"))
                .hint("only root may run it as another user: start Tierce as root, or leave `user` out"),
            Some((name, user)) if is(Errno::ACCESS) => {
                let explanation = Explanation::new(format!("{name} cannot run {}", python.display()));
                match barrier(python, user) {
                    Some(directory) => explanation.place(directory.display().to_string()).hint(format!(
                        "let {name} through: chmod o+x {}; or name another interpreter with `python`",
                        directory.display()
                    )),
                    None => explanation.hint(format!("name an interpreter that {name} may run with `python`")),
                }
            }
            _ => Explanation::new(format!("cannot start {}", python.display())),
        };
        Self(Box::new(explanation.during(format!("starting {node}")).cause(error.to_string())), Blame::of(error))
    }

    /// The user that is configured does not exist.
    pub(crate) fn no_such_user(name: &str, node: &str) -> Self {
        let explanation = Explanation::new(format!("there is no user {name:?}"))
            .during(format!("starting {node}"))
            .hint("`user` is a name or a number in /etc/passwd");
        Self::application(explanation)
    }

    /// A mistake of the application or its configuration.
    pub(crate) fn application(explanation: Explanation) -> Self {
        Self(Box::new(explanation), Blame::Application)
    }

    /// An application of an interface that cannot be run.
    pub(crate) fn is_asgi(plan: &Plan) -> Self {
        let app = plan.config.app.to_string();
        let explanation = Explanation::new(format!("{app} is an ASGI application"))
            .during(format!("starting {}", plan.name()))
            .cause("this version runs WSGI applications only")
            .hint("name a WSGI application, for example the Flask or Django one (shop.wsgi:application)");
        Self::application(explanation)
    }

    /// An import that has failed.
    pub(crate) fn cannot_import(
        plan: &Plan,
        cause: &str,
        traceback: &str,
        missing: Option<&str>,
        found: &[String],
    ) -> Self {
        let app = &plan.config.app;
        // What was wanted is there, and helps no further.
        let others: Vec<_> = found.iter().filter(|name| **name != app.callable).map(String::as_str).collect();
        let hint = match missing {
            Some(missing) if *missing == app.module || app.module.starts_with(&format!("{missing}.")) => {
                format!("there is no module {missing} in {} or on its path", plan.config.project.display())
            }
            Some(missing) => how_to_install(missing, &plan.interpreter, &plan.config.project),
            None if is_called_without_arguments(app, cause) => {
                "a factory is called without arguments: write a function that calls it with those it needs".to_owned()
            }
            None if !others.is_empty() => {
                format!("the module has {}: write {}:{}", others.join(", "), app.module, others[0])
            }
            None if cause.ends_with("cannot be called with environ and start_response") => {
                format!("if it makes the application, write {app}()")
            }
            None if lacks_the_application(app, cause) => {
                format!("name the application that the module makes: {}:NAME", app.module)
            }
            None => "the traceback shows where; `tierce check` tries again without serving".to_owned(),
        };
        // An exception that was not raised in the project's code has no more to show.
        let detail = if traceback.trim() == cause { "" } else { traceback };
        // Which Python it was matters only to what could not be found.
        let cause = match missing {
            Some(_) => format!("{cause}   (python: {})", plan.interpreter.shown(&plan.config.project)),
            None => cause.to_owned(),
        };
        let explanation = Explanation::new(format!("cannot import {app}"))
            .during(format!("starting {}", plan.name()))
            .place(app.place.clone())
            .cause(cause)
            .detail(detail)
            .hint(hint);
        Self::application(explanation)
    }
}

/// Whether the factory that was named wants more than it gets.
fn is_called_without_arguments(app: &AppRef, cause: &str) -> bool {
    app.callable.strip_suffix("()").is_some_and(|name| cause.starts_with(&format!("TypeError: {name}() missing ")))
}

/// Whether the module is there, and what was named is not in it or is something else.
fn lacks_the_application(app: &AppRef, cause: &str) -> bool {
    let AppRef { module, callable, .. } = app;
    cause == format!("AttributeError: module '{module}' has no attribute '{}'", callable.trim_end_matches("()"))
        || cause.starts_with(&format!("TypeError: `{app}` is no application"))
}

/// The first directory on the way to a file, links followed, that does not let a user through.
fn barrier(file: &Path, user: &User) -> Option<std::path::PathBuf> {
    let real = fs::canonicalize(file).ok();
    let ways = [Some(file), real.as_deref()];
    let outermost_first =
        |way: &Path| way.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>().into_iter().rev();
    ways.into_iter().flatten().flat_map(outermost_first).find(|directory| {
        fs::metadata(directory).is_ok_and(|directory| {
            let allowed = match () {
                () if directory.uid() == user.uid => 0o100,
                () if user.groups.contains(&directory.gid()) => 0o010,
                () => 0o001,
            };
            directory.mode() & allowed == 0
        })
    })
}

/// How a module that is missing gets into the interpreter.
fn how_to_install(missing: &str, interpreter: &Interpreter, project: &Path) -> String {
    // Those that cannot be read have been told of before.
    let file = Requirements::of(project).ok().flatten().map(|requirements| requirements.file());
    let python = interpreter.path.strip_prefix(project).unwrap_or(&interpreter.path).display();
    match (interpreter.origin, file) {
        (Origin::Configured, Some(file)) => {
            format!("install {missing} for {python}, or leave `python` out: then {file} is installed into .tierce/venv")
        }
        (Origin::TierceVenv, Some(file)) => format!("add {missing} to {file}; it is installed with the next start"),
        (Origin::TierceVenv | Origin::System, _) => {
            format!("name {missing} in a requirements.txt; what it names is installed with the next start")
        }
        (Origin::VirtualEnv | Origin::DotVenv, Some(file)) => {
            format!("install {missing} for {python}, and name it in {file}")
        }
        (Origin::Configured | Origin::VirtualEnv | Origin::DotVenv, None) => {
            format!("install {missing} for {python}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn who_may_not_start_it_is_told_what_is_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(closed.join("python"), "").unwrap();
        let link = directory.path().join("python");
        std::os::unix::fs::symlink(closed.join("python"), &link).unwrap();
        let (name, home) = ("shop".to_owned(), "/".to_owned());
        let stranger = User { name, home, uid: 4_000_000, gid: 4_000_000, groups: vec![4_000_000] };
        assert_eq!(barrier(&link, &stranger), Some(fs::canonicalize(&closed).unwrap()));
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(barrier(&link, &stranger), None);

        let error = |errno: Errno, user| {
            let error = StartError::cannot_execute(&link, "web.1", user, &errno.into());
            (error.1, error.to_string())
        };
        let (blame, text) = error(Errno::PERM, Some(("shop", &stranger)));
        assert!(blame == Blame::Permission && text.contains("cannot run as shop") && text.contains("hint: "), "{text}");
        let (blame, text) = error(Errno::ACCESS, Some(("shop", &stranger)));
        assert!(blame == Blame::Permission && text.contains("shop cannot run ") && text.contains("hint: "), "{text}");
        assert_eq!(error(Errno::NOENT, None).0, Blame::Machine);
    }

    #[test]
    fn what_to_do_about_a_missing_module_depends_on_the_interpreter() {
        let project = tempfile::tempdir().unwrap();
        let hint = |origin| {
            let path = project.path().join("v/bin/python");
            let interpreter = Interpreter { path, version: "3.12.1".to_owned(), origin, _hold: None };
            assert_eq!(interpreter.shown(project.path()), "v/bin/python 3.12.1");
            how_to_install("flask", &interpreter, project.path())
        };
        assert_eq!(hint(Origin::DotVenv), "install flask for v/bin/python");
        assert!(hint(Origin::System).contains("in a requirements.txt"));
        fs::write(project.path().join("requirements.txt"), "flask\n").unwrap();
        // Whatever is not made from the requirements is not helped by what stands there.
        assert!(hint(Origin::Configured).contains("leave `python` out"));
        assert!(hint(Origin::VirtualEnv).contains("name it in requirements.txt"));
        assert!(hint(Origin::TierceVenv).starts_with("add flask to requirements.txt"));
    }
}
