//! `tierce`: one program that runs a Python web application behind a balancer. Reads the command line and wires the
//! parts; every decision is made elsewhere.
//!
//! Invariant: the result goes to standard output, messages go to standard error, and the exit status says how it went.

mod args; // the command line
mod foreign; // words of other programs
mod exit; // exit statuses
mod say; // output that survives a closed pipe
mod project; // configuration and place of the project
mod up; // everything is prepared, then it runs
mod listeners; // all that is listened on
mod announce; // what is said when it serves
mod steps; // progress on long steps
mod refuse; // why it does not start
mod detach; // the same in the background
mod balance; // how requests are given out
mod certificates; // of the https listeners
mod notify; // the service manager
mod signals; // what asks it to stop or to reload
mod running; // what it does while it runs
mod application; // the application that it runs
mod sight; // what is told of it
mod reload; // new code and configuration
mod differences; // what that changes in the configuration
mod discovered; // containers that come and go
mod relisten; // and all that is listened on
mod develop; // the same whenever a file changes
mod failure; // why that could not be, in parts
mod traceback; // where in the project
mod page; // what a browser shows then
mod leave; // how a container takes leave
mod ended; // how it went down
mod outcome; // how a command ended
mod ask; // commands for a running Tierce
mod ps; // what runs
mod logs; // what was logged
mod check; // configuration and import, without serving

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::parse(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let exit = match &args.command {
        args::Command::Up(up) => up::run(&args, up),
        args::Command::Edge(edge) => up::edge(&args, edge),
        args::Command::Node(node) => up::node(&args, node),
        args::Command::Build => check::build(&args),
        args::Command::Check => check::check(&args),
        args::Command::Scale(scale) => ask::scale(&args, &scale.targets),
        args::Command::Ps => ps::run(&args),
        args::Command::Logs(wanted) => logs::run(&args, wanted),
        args::Command::Reload(wanted) => differences::reload(&args, wanted),
        args::Command::Restart => ask::restart(&args),
        args::Command::Refork(wanted) => ask::refork(&args, &wanted.nodes),
        args::Command::Drain(wanted) => ask::drain(&args, &wanted.node),
        args::Command::Ready(wanted) => ask::ready(&args, &wanted.node),
        args::Command::Weight(wanted) => ask::weight(&args, &wanted.node, wanted.weight),
        args::Command::Discover(wanted) => discovered::report(wanted),
        args::Command::Down => ask::down(&args),
    };
    exit.into()
}
