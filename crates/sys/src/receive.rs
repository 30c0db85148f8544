//! Bytes from a Unix socket, and the descriptor that came with them (unix(7), SCM_RIGHTS).
//!
//! Invariant: every descriptor that the kernel has made for us is handed out or closed, and none is inherited by children.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// What came beside the bytes of one read.
#[derive(Debug)]
pub enum Passed {
    /// Only bytes, as nearly always.
    Nothing,
    /// A descriptor, which was sent with some of the bytes.
    Descriptor(OwnedFd),
    /// A descriptor was sent, but this process may have no more of them; or there were several.
    Lost,
}

/// Room for one descriptor, aligned as the kernel wants it.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; CONTROL_LEN],
}

/// Bytes of a descriptor.
const DESCRIPTOR: u32 = RawFd::BITS / 8;

// SAFETY: these only compute lengths.
const CONTROL_LEN: usize = unsafe { libc::CMSG_SPACE(DESCRIPTOR) } as usize;
// SAFETY: the same. It is shorter than the room: that would hold a second descriptor where pointers are long.
const ONE: usize = unsafe { libc::CMSG_LEN(DESCRIPTOR) } as usize;

/// Appends what has arrived to `buffer`, as much as its spare capacity holds; `Ok(0)` means that nothing more will. Never
/// waits. The kernel ends a read behind the bytes that a descriptor was sent with, so that there is at most one.
pub fn receive(socket: impl AsFd, buffer: &mut Vec<u8>) -> io::Result<(usize, Passed)> {
    let room = buffer.spare_capacity_mut();
    let mut piece = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut control = Control { bytes: [0; CONTROL_LEN] };
    // SAFETY: for this structure of numbers and pointers zero is a value: nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = ONE as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: what the message points to outlives the call; the kernel writes into `room` and `control` no more than they hold.
    let count = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has written so many bytes behind the old length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok((count, passed(&message)))
}

fn passed(message: &libc::msghdr) -> Passed {
    // SAFETY: the kernel has filled in the control data and its length.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    let descriptor = if header.is_null() {
        None
    } else {
        // SAFETY: not null, so it points to a whole header in `control`; descriptors follow it.
        unsafe {
            let rights = (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS;
            let whole = ONE <= (*header).cmsg_len as usize;
            (rights && whole).then(|| {
                let number = libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned();
                // It was made for us by this call, and nobody else knows of it.
                OwnedFd::from_raw_fd(number)
            })
        }
    };
    match descriptor {
        _ if message.msg_flags & libc::MSG_CTRUNC != 0 => Passed::Lost,
        Some(descriptor) => Passed::Descriptor(descriptor),
        None => Passed::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::unix::net::UnixStream};

    use rustix::{
        fs::{MemfdFlags, fstat, memfd_create},
        io::{FdFlags, fcntl_getfd},
        net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    };

    use super::*;

    fn send(socket: &UnixStream, bytes: &[u8], files: &[File]) {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        }
        let sent = sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
        assert_eq!(sent, bytes.len());
    }

    fn file() -> File {
        memfd_create(c"passed", MemfdFlags::CLOEXEC).unwrap().into()
    }

    #[test]
    fn a_descriptor_comes_with_its_bytes_and_those_before() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut buffer = Vec::with_capacity(64);
        assert_eq!(receive(&ours, &mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let sent = file();
        send(&theirs, b"before ", &[]);
        send(&theirs, b"with ", std::slice::from_ref(&sent));
        send(&theirs, b"behind", &[]);
        let (count, passed) = receive(&ours, &mut buffer).unwrap();
        let Passed::Descriptor(received) = passed else { panic!("{passed:?}") };
        assert_eq!((count, &buffer[..]), (12, &b"before with "[..]));
        assert_eq!(fstat(&received).unwrap().st_ino, fstat(&sent).unwrap().st_ino);
        assert!(fcntl_getfd(&received).unwrap().contains(FdFlags::CLOEXEC));
        assert!(matches!(receive(&ours, &mut buffer).unwrap(), (6, Passed::Nothing)));
        drop(theirs);
        assert!(matches!(receive(&ours, &mut buffer).unwrap(), (0, Passed::Nothing)));
        assert_eq!(buffer, b"before with behind");
    }

    #[test]
    fn more_descriptors_than_one_are_lost_and_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut read, written) = io::pipe().unwrap();
        send(&theirs, b"x", &[file(), OwnedFd::from(written).into()]);
        assert!(matches!(receive(&ours, &mut Vec::with_capacity(8)).unwrap(), (1, Passed::Lost)));
        // Nobody holds the other end any more.
        assert_eq!(read.read(&mut [0]).unwrap(), 0);
    }
}
