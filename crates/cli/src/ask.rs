//! Commands for a running Tierce.

use control::{Answer, Ask, AskError, Differs, Place, Recorded};

use crate::{
    args::{Args, name_and_number},
    exit::Exit,
    outcome, project, say,
};

/// Asks, and says what went wrong.
pub(crate) fn ask(args: &Args, ask: &Ask) -> Result<Answer, Exit> {
    ask_and_hear(args, ask, |_| ())
}

/// The same; `hear` gets what differs before there is an answer.
pub(crate) fn ask_and_hear(args: &Args, ask: &Ask, hear: impl FnMut(Differs)) -> Result<Answer, Exit> {
    let place = project::place(args)?;
    report(control::ask_and_hear(&place, ask, hear))
}

fn report(answer: Result<Answer, AskError>) -> Result<Answer, Exit> {
    match answer {
        Ok(Answer::Refused { code, text }) => {
            say::message(&text);
            Err(Exit(code))
        }
        Ok(answer) => Ok(answer),
        Err(AskError::NotRunning) => {
            say::message("error: nothing is running in this project\n  hint: start it: `tierce up`");
            Err(Exit::NOT_RUNNING)
        }
        Err(error @ AskError::NotAnswering { .. }) => {
            say::message(&format!(
                "error: {error}\n  cause: it is starting or stopping, or its control socket was removed\n  \
                 hint: wait until it has started; `tierce down` stops it in any case"
            ));
            Err(Exit::FAILED)
        }
        Err(error @ AskError::NoPermission { .. }) => Err(no_permission(&error)),
        Err(error) => {
            say::message(&format!("error: {error}"));
            Err(Exit::FAILED)
        }
    }
}

fn no_permission(error: &dyn std::fmt::Display) -> Exit {
    say::message(&format!("error: {error}\n  hint: only the user who started it may give commands"));
    Exit::NO_PERMISSION
}

fn done(args: &Args, question: &Ask) -> Exit {
    finish(args, ask(args, question))
}

fn finish(args: &Args, answer: Result<Answer, Exit>) -> Exit {
    match answer {
        Ok(Answer::Done { text }) => {
            outcome::done(args, &text);
            Exit::DONE
        }
        Ok(_) => Exit::FAILED,
        Err(exit) => exit,
    }
}

pub(crate) fn scale(args: &Args, targets: &[String]) -> Exit {
    for target in targets {
        let (app, nodes) = match name_and_number(target) {
            Ok(target) => target,
            Err(text) => {
                say::message(&text);
                return Exit::USAGE;
            }
        };
        let exit = done(args, &Ask::Scale { app, nodes });
        if exit != Exit::DONE {
            return exit;
        }
    }
    Exit::DONE
}

pub(crate) fn restart(args: &Args) -> Exit {
    done(args, &Ask::Restart)
}

pub(crate) fn refork(args: &Args, nodes: &[String]) -> Exit {
    done(args, &Ask::Refork { nodes: nodes.to_vec() })
}

pub(crate) fn drain(args: &Args, node: &str) -> Exit {
    done(args, &Ask::Drain { node: node.to_owned() })
}

pub(crate) fn ready(args: &Args, node: &str) -> Exit {
    done(args, &Ask::Ready { node: node.to_owned() })
}

pub(crate) fn weight(args: &Args, node: &str, weight: u32) -> Exit {
    done(args, &Ask::Weight { node: node.to_owned(), weight })
}

/// Stops what runs; that nothing runs is what was wanted too.
pub(crate) fn down(args: &Args) -> Exit {
    let place = match project::place(args) {
        Ok(place) => place,
        Err(exit) => return exit,
    };
    match control::ask(&place, &Ask::Down) {
        Err(AskError::NotRunning) => {
            Recorded::clear(&place);
            outcome::done(args, "nothing was running");
            Exit::DONE
        }
        // It ends for another reason, and wanted no more questions.
        Ok(Answer::Refused { code, .. }) if Exit(code) == Exit::NOT_RUNNING => {
            place.wait_until_free();
            Recorded::clear(&place);
            finish(args, Ok(Answer::Done { text: "stopped".to_owned() }))
        }
        Err(AskError::NotAnswering { .. }) => terminate(args, &place),
        answer => {
            let exit = finish(args, report(answer));
            // It still has to end; a new `up` must find it gone.
            place.wait_until_free();
            exit
        }
    }
}

/// Stops a Tierce that cannot be asked to, as its service manager would.
fn terminate(args: &Args, place: &Place) -> Exit {
    match place.terminate() {
        Ok(_) => {
            place.wait_until_free();
            Recorded::clear(place);
            finish(args, Ok(Answer::Done { text: "stopped".to_owned() }))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => no_permission(&error),
        Err(error) => {
            say::message(&format!("error: it cannot be stopped: {error}"));
            Exit::FAILED
        }
    }
}
