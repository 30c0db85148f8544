"""What stands in the way of forks of a worker that has served: threads, which a fork would not have, and connections, which
forks would share.

Invariant: nothing is changed by looking, but what the application itself does before a fork.
"""

import json
import os
import socket
import stat
import sys
import time

# How long threads of ours that have been joined may be seen by the kernel.
PARTING = 2.0
# So much is told.
TOLD = 8


def obstacle(inherited, native):
    """Why this process, which serves no more, cannot be forked; None if it can."""
    threads = other_threads()
    if threads:
        return {"obstacle": "threads", "names": threads}
    try:
        peers = connections(inherited, native)
    except OSError as error:
        return {"obstacle": "fork", "names": [str(error)]}
    return {"obstacle": "connections", "names": peers} if peers else None


def other_threads():
    """Those besides this one, which a fork would not have, by name."""
    until = time.monotonic() + PARTING
    while True:
        left = [int(name) for name in os.listdir("/proc/self/task") if int(name) != os.getpid()]
        if not left or until < time.monotonic():
            break
        time.sleep(0.001)
    threading = sys.modules.get("threading")
    known = {thread.native_id: thread.name for thread in threading.enumerate()} if threading else {}
    names = dict.fromkeys(known.get(thread) or native_name(thread) for thread in left)
    return list(names)[:TOLD]


def native_name(thread):
    try:
        with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()}, which is not Python's"
    except OSError:
        return "one that has just ended"


def sockets():
    """Those of this process, by what the kernel tells them apart: descriptors by inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            seen = os.stat(int(name))
        except OSError:
            continue
        if stat.S_ISSOCK(seen.st_mode):
            found[seen.st_ino] = int(name)
    return found


def connections(inherited, native):
    """Connections made since this process was forked itself which a fork would share with it, by their peers. Tried with a
    fork, so that the application may close them when it is about to be forked (`os.register_at_fork`)."""
    reader, writer = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            native["die_with_parent"]()
            if os.getppid() == parent:
                os.write(writer, json.dumps(peers(inherited)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        text = told.read()
    os.waitpid(pid, 0)
    if not text:
        raise OSError("a fork that was tried has ended at once")
    return json.loads(text)


def peers(inherited):
    found = []
    for inode, descriptor in sockets().items():
        if inode in inherited:
            continue
        with socket.socket(fileno=os.dup(descriptor)) as one:
            # Others, such as one to a log, have no state that could be mixed up.
            if one.type not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
                continue
            try:
                found.append(address(one.getpeername()))
            except OSError:
                # It listens, or the peer has gone.
                pass
    return list(dict.fromkeys(found))[:TOLD]


def address(peer):
    """`10.0.0.1:5432`, or a path."""
    if isinstance(peer, tuple):
        return f"{peer[0]}:{peer[1]}"
    if isinstance(peer, bytes):
        peer = peer.decode(errors="replace").replace("\0", "@")
    return peer or "a socket without a name"
