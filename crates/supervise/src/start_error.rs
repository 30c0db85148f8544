//! Why a node could not be started, and whose mistake it was.

use std::path::Path;

use crate::{
    explanation::Explanation,
    interpreter::{Interpreter, Origin},
    node::Plan,
    requirements::Requirements,
};

/// A node could not be started; everything it had is gone again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub Box<Explanation>, pub(crate) Class);

/// What kind of mistake it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The application's or the configuration's.
    Application,
    /// The machine's.
    Machine,
}

impl StartError {
    pub(crate) fn machine(what: &str, node: &str, cause: &dyn std::fmt::Display) -> Self {
        let explanation = Explanation::new(what).during(format!("starting {node}")).cause(cause.to_string());
        Self(Box::new(explanation), Class::Machine)
    }

    /// Whether the application or its configuration is at fault, and not the machine.
    pub fn is_the_applications(&self) -> bool {
        self.1 == Class::Application
    }

    /// A mistake of the application or its configuration.
    pub(crate) fn application(explanation: Explanation) -> Self {
        Self(Box::new(explanation), Class::Application)
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
        let hint = match missing {
            Some(missing) if *missing == app.module || app.module.starts_with(&format!("{missing}.")) => {
                format!("there is no module {missing} in {} or on its path", plan.config.project.display())
            }
            Some(missing) => how_to_install(missing, &plan.interpreter, &plan.config.project),
            None if !found.is_empty() => {
                format!("the module has {}: write {}:{}", found.join(", "), app.module, found[0])
            }
            None => "the traceback shows where; tierce check tries again without serving".to_owned(),
        };
        // Which Python it was matters only to what could not be found.
        let cause = match missing {
            Some(_) => format!("{cause}   (python: {})", plan.interpreter.shown(&plan.config.project)),
            None => cause.to_owned(),
        };
        let explanation = Explanation::new(format!("cannot import {app}"))
            .during(format!("starting {}", plan.name()))
            .place(plan.config.project.display().to_string())
            .cause(cause)
            .detail(traceback)
            .hint(hint);
        Self::application(explanation)
    }
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
    use std::fs;

    use super::*;

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
