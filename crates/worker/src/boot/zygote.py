"""The process that forks the workers.

Invariant: the supervisor is told how each child has ended, or the zygote has ended itself.
"""

import json
import os
import select
import signal
import socket

from tierce_process import PACKET, say

# The kernel passes at most so many descriptors at a time.
DESCRIPTORS = 253
# How often children are looked after where the kernel has no pidfd.
ROUND_MS = 100


class Zygote:
    """Forks at the supervisor's word, and tells how its children end."""

    def __init__(self, control, native):
        self.control = control
        self.native = native
        self.children = {}
        self.unwatched = set()
        self.original = native["greenlets"].original
        self.poll = self.original(select, "poll")()
        self.poll.register(control, select.POLLIN)

    def run(self):
        """In the zygote: None when it is to exit. In a worker: its command and descriptors."""
        # How the application wants to learn of its children is for the workers; here it would hide how those end.
        about_children = self.original(signal, "signal")(signal.SIGCHLD, signal.SIG_DFL)
        command, descriptors = self.obey()
        if command is not None and about_children is not None:
            signal.signal(signal.SIGCHLD, about_children)
        return command, descriptors

    def obey(self):
        while True:
            for descriptor, _ in self.poll.poll(ROUND_MS if self.unwatched else None):
                if descriptor != self.control.fileno():
                    self.reap(self.children.pop(descriptor), descriptor)
                    continue
                command, descriptors = self.receive()
                if command is None or command["do"] == "exit":
                    return None, []
                if command["do"] in ("let_go", "stay"):
                    self.change_parent(command)
                    continue
                if len(descriptors) < command["descriptors"]:
                    # The kernel has dropped those for which this process has no room.
                    close(descriptors)
                    say(self.control, say="fork_failed", worker=command["worker"], cause="too many open files")
                    if command["do"] == "become":
                        return None, []
                    continue
                if command["do"] == "become" or self.fork(command, descriptors):
                    return command, descriptors
            for pid in list(self.unwatched):
                self.reap(pid, None)

    def receive(self):
        """A command with its descriptors, which may come in several packets."""
        command, descriptors, left = None, [], DESCRIPTORS + 1
        while DESCRIPTORS < left:
            try:
                text, more, _, _ = socket.recv_fds(self.control, PACKET, DESCRIPTORS)
            except ConnectionError:
                text = b""
            if not text:
                return None, []
            packet = json.loads(text)
            command, left = command or packet, packet["descriptors"]
            descriptors += more
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return command, descriptors

    def change_parent(self, command):
        """Lets the parent, from which this process was forked, end; then the supervisor is the parent."""
        if command["do"] == "let_go":
            self.native["outlive_parent"]()
            say(self.control, say="has_let_go")
            return
        self.native["die_with_parent"]()
        if os.getppid() != command["parent"]:
            os._exit(0)
        say(self.control, say="stays")

    def fork(self, command, descriptors):
        """True in the child."""
        parent = os.getpid()
        try:
            pid = self.original(os, "fork")()
        except OSError as error:
            say(self.control, say="fork_failed", worker=command["worker"], cause=str(error))
            close(descriptors)
            return False
        if pid == 0:
            self.native["die_with_parent"]()
            if os.getppid() != parent:
                os._exit(0)
            self.native["greenlets"].after_fork()
            close(self.children)
            return True
        close(descriptors)
        try:
            descriptor = self.native["open_pidfd"](pid)
        except OSError:
            self.unwatched.add(pid)
        else:
            self.children[descriptor] = pid
            self.poll.register(descriptor, select.POLLIN)
        say(self.control, say="forked", worker=command["worker"], pid=pid)
        return False

    def reap(self, pid, descriptor):
        if descriptor is not None:
            self.poll.unregister(descriptor)
            os.close(descriptor)
        code, by = None, None
        try:
            ended, status = self.original(os, "waitpid")(pid, 0 if descriptor is not None else os.WNOHANG)
        except ChildProcessError:
            # Somebody else has waited for it, so nobody knows how it has ended.
            pass
        else:
            if ended == 0:
                return
            if os.WIFSIGNALED(status):
                by = os.WTERMSIG(status)
            else:
                code = os.WEXITSTATUS(status)
        self.unwatched.discard(pid)
        say(self.control, say="exited", pid=pid, code=code, signal=by)


def close(descriptors):
    for descriptor in descriptors:
        os.close(descriptor)
