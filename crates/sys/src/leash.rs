//! Tools that must not outlive us: they and everything that they start end with whoever holds the leash.
//!
//! Invariant: the watcher belongs to the group that it ends, so that the group's number cannot become another's. After
//! the fork only system calls are made (signal-safety(7)).
#![allow(unsafe_code)]

use std::{
    io,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::pipe::{PipeFlags, pipe_with};

/// As long as it lives, so may the tool; when it is dropped, or this process ends in any way, all of it is killed.
#[derive(Debug)]
pub struct Leash {
    _held: OwnedFd,
}

/// Makes `command` start its program in a session of its own, where a watcher waits for the end of the returned leash.
/// The kernel's word to kill a child with its parent would not do, as it does not reach the child's children.
pub fn prepare_leashed(command: &mut Command) -> io::Result<Leash> {
    let (watched, held) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: only system calls; the descriptor lives in the closure, and so as long as the command.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() == -1 {
                return Err(io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => watch(watched.as_raw_fd()),
                _ => Ok(()),
            }
        });
    }
    Ok(Leash { _held: held })
}

/// SAFETY: to be called in a forked child; only system calls.
unsafe fn watch(watched: RawFd) -> ! {
    // SAFETY: the byte that is read into outlives the calls; killing the own group returns to nobody.
    unsafe {
        let mut nothing = 0u8;
        // Held open here, the tool's output would never end, and the leash neither.
        if libc::dup2(watched, 0) == 0 && libc::syscall(libc::SYS_close_range, 1u32, u32::MAX, 0) == 0 {
            while libc::read(0, (&raw mut nothing).cast(), 1) == -1
                && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
            libc::kill(0, libc::SIGKILL);
        }
        libc::_exit(0)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Read},
        os::unix::process::ExitStatusExt,
        process::Stdio,
    };

    use super::*;

    #[test]
    fn what_a_tool_has_started_ends_with_the_leash() {
        let mut command = Command::new("sh");
        // Both hold the output open, so its end is the end of both.
        command.args(["-c", "sleep 1000 & echo started; wait"]).stdout(Stdio::piped());
        let leash = prepare_leashed(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        drop(leash);
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn a_tool_that_ends_by_itself_is_not_disturbed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo done; exit 3"]);
        let leash = prepare_leashed(&mut command).unwrap();
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b"done\n"[..]));
        drop(leash);
    }
}
