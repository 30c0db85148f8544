//! Why a node could not be started, and whose mistake it was.

use crate::{explanation::Explanation, node::Plan};

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
            Some(missing) if plan.config.project.join("requirements.txt").is_file() => {
                format!("add {missing} to requirements.txt; it is installed with the next start")
            }
            Some(missing) => format!("install {missing} for {}", plan.interpreter.path.display()),
            None if !found.is_empty() => {
                format!("the module has {}: write {}:{}", found.join(", "), app.module, found[0])
            }
            None => "the traceback shows where; tierce check tries again without serving".to_owned(),
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
