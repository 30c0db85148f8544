"""Applications whose threads gevent has patched: their requests run in greenlets of the main thread.

Invariant: gevent is imported by the application or not at all, and its loop runs in workers only.
"""

import sys
import traceback

# How long greenlets that have nothing to do may take to return at the end, in seconds.
PARTING = 5


def original(module, name):
    """What gevent may have put something else in place of that would run its loop."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey.get_original(module.__name__, name) if monkey else getattr(module, name)


def after_fork():
    """gevent is told by its own fork only."""
    gevent = sys.modules.get("gevent")
    if gevent is not None:
        gevent.reinit()


def of_application():
    """None where the application wants threads: gevent has not made their locks its own."""
    monkey = sys.modules.get("gevent.monkey")
    return Greenlets() if monkey is not None and monkey.is_module_patched("threading") else None


class Greenlets:
    """What the native part asks of gevent. All of it is for the main thread, but `frame` and `interrupt`."""

    def __init__(self):
        import gevent
        import gevent.socket

        self.gevent = gevent
        self.wait_read = gevent.socket.wait_read
        self.hub = gevent.get_hub()
        self.main = original(sys.modules["threading"], "get_ident")()
        self.running = {}

    def run(self, serving):
        """Until the worker has been drained."""
        while (wanted := serving.wanted()) is not None:
            for _ in range(wanted):
                self.gevent.spawn(self.take_turns, serving)
            try:
                self.wait(serving.descriptor(), None)
            except BaseException:
                # A signal handler has raised it; the requests have nothing to do with that.
                traceback.print_exc()
        with self.gevent.Timeout(PARTING, False):
            while serving.part():
                self.gevent.sleep(0.001)
        serving.wait()

    def take_turns(self, serving):
        me = self.gevent.getcurrent()
        self.running[id(me)] = me
        try:
            serving.take_turns(id(me))
        finally:
            del self.running[id(me)]

    def wait(self, descriptor, seconds):
        if seconds is None:
            return self.wait_read(descriptor)
        try:
            self.wait_read(descriptor, seconds)
        except TimeoutError:
            pass

    def give_way(self):
        self.gevent.sleep(0)

    def frame(self, name):
        """The one that runs has none of its own: it is in its thread's."""
        return self.running[name].gr_frame or sys._current_frames()[self.main]

    def interrupt(self, name, runs, exception):
        """From any thread: when the loop has its turn, `runs` says whether it is not too late."""

        def throw():
            if runs():
                self.running[name].throw(exception)

        self.hub.loop.run_callback_threadsafe(throw)
