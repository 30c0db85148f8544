//! What a child process does between fork and exec: its own session and host name, another user, and the promise to die
//! with its parent.
//!
//! Invariant: everything is prepared before the fork; in the child only system calls are made (signal-safety(7)).
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    io,
    os::{fd::RawFd, unix::process::CommandExt},
    process::Command,
};

/// A host name of the child's own.
#[derive(Clone, Debug)]
pub struct OwnHostName {
    /// `web.1`
    pub name: CString,
    /// A file to be seen as /etc/hosts.
    pub hosts: CString,
}

/// Another user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its own directory.
    pub home: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// All groups.
    pub groups: Vec<u32>,
}

/// How a child differs from its parent.
#[derive(Clone, Debug, Default)]
pub struct ChildSetup {
    /// Its own host name; see [`can_isolate`].
    pub host_name: Option<OwnHostName>,
    /// Another user; needs privilege.
    pub user: Option<User>,
}

/// Makes `command` start its child in a session of its own, which the kernel kills when the *thread* that has started it
/// ends; so the thread that lives as long as the process has to do it. The descriptors `keep` stay open in the
/// child, at their numbers.
pub fn prepare_child(command: &mut Command, setup: ChildSetup, keep: Vec<RawFd>) {
    let parent = rustix::process::getpid().as_raw_nonzero().get();
    // SAFETY: the closure only makes system calls with values prepared here; it neither allocates nor locks.
    unsafe {
        command.pre_exec(move || {
            check(libc::setsid())?;
            if let Some(host_name) = &setup.host_name {
                isolate(&host_name.name, &host_name.hosts)?;
            }
            if let Some(user) = &setup.user {
                become_user(user)?;
            }
            for number in &keep {
                stay_open(*number)?;
            }
            // Last, because a change of user undoes it (prctl(2)).
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        });
    }
}

/// Makes `command` start a daemon: in a session of its own, with none of the caller's descriptors but the first three.
pub fn prepare_daemon(command: &mut Command) {
    // SAFETY: only system calls.
    unsafe {
        command.pre_exec(|| {
            check(libc::setsid())?;
            // Marked instead of closed: the pipe by which a failing exec is reported has to live until then.
            let marked = libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
            if marked == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// SAFETY: see [`prepare_child`]; only system calls.
unsafe fn isolate(name: &CStr, hosts: &CStr) -> io::Result<()> {
    // SAFETY: plain system calls with NUL-terminated strings that outlive them.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWNS))?;
        check(libc::sethostname(name.as_ptr(), name.to_bytes().len()))?;
        let nothing = std::ptr::null();
        check(libc::mount(
            nothing,
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        ))?;
        check(libc::mount(hosts.as_ptr(), c"/etc/hosts".as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null()))
    }
}

/// SAFETY: see [`prepare_child`]; only system calls.
unsafe fn become_user(user: &User) -> io::Result<()> {
    // SAFETY: the pointer and length are those of a slice that outlives the call.
    unsafe {
        check(libc::setgroups(user.groups.len(), user.groups.as_ptr()))?;
        check(libc::setgid(user.gid))?;
        check(libc::setuid(user.uid))
    }
}

/// SAFETY: see [`prepare_child`]; only system calls.
unsafe fn stay_open(number: RawFd) -> io::Result<()> {
    // SAFETY: changes one flag of a descriptor in the child.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })
}

/// Whether children can have host names of their own: tried on a thread, whose namespaces end with it.
pub fn can_isolate() -> io::Result<()> {
    let attempt = || {
        // SAFETY: unshare concerns the calling thread only; the mount is made in its own, private namespace.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWNS))?;
            let (root, nothing) = (c"/".as_ptr(), std::ptr::null());
            check(libc::mount(nothing, root, std::ptr::null(), libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()))
        }
    };
    std::thread::spawn(attempt).join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

/// Looks a user up by name or number (passwd(5)).
pub fn find_user(name: &str) -> io::Result<Option<User>> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|entry| entry.len() >= 4 && (entry[0] == name || entry[2] == name));
    let Some(entry) = entry else { return Ok(None) };
    let (Ok(uid), Ok(gid)) = (entry[2].parse(), entry[3].parse()) else { return Ok(None) };
    let mut groups = vec![gid];
    for line in std::fs::read_to_string("/etc/group").unwrap_or_default().lines() {
        let group: Vec<_> = line.split(':').collect();
        if let [_, _, id, members] = group[..]
            && members.split(',').any(|member| member == entry[0])
            && let Ok(id) = id.parse()
        {
            groups.push(id);
        }
    }
    let home = entry.get(5).copied().unwrap_or("/").to_owned();
    Ok(Some(User { name: entry[0].to_owned(), home, uid, gid, groups }))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let root = find_user("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_str(), root.home.as_str()), (0, 0, "root", "/root"));
        assert_eq!(find_user("0").unwrap(), Some(root));
        assert_eq!(find_user("no-such-user").unwrap(), None);
    }

    #[test]
    fn a_child_has_a_session_of_its_own_and_keeps_what_it_shall() {
        let (kept, _writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let mut command = Command::new("sh");
        let script = format!("test -e /proc/self/fd/{} && echo $$ $(cut -d' ' -f6 /proc/self/stat)", kept.as_raw_fd());
        command.args(["-c", &script]);
        prepare_child(&mut command, ChildSetup::default(), vec![kept.as_raw_fd()]);
        let output = command.stderr(std::process::Stdio::inherit()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (shell, session) = text.trim().split_once(' ').unwrap();
        assert_eq!(shell, session, "it leads a session");
    }
}
