"""Imports the application, says how that went, and forks workers of it. A worker that has been drained may be told to
fork others in its turn.

Invariant: the supervisor is told exactly one of `imported` and `failed`; only then is a command obeyed. Requests are
never seen here.
"""

import json
import os
import signal
import socket
import sys

from tierce_app import load
from tierce_process import freeze, line_by_line
from tierce_work import disown, work
from tierce_zygote import Zygote


def main(text, native):
    settings = json.loads(text)
    control = socket.socket(fileno=settings["control"])
    control.set_inheritable(False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up(settings)
    line_by_line()
    app = load(settings, control)
    if app is None:
        sys.exit(78)
    os.register_at_fork(after_in_child=lambda: disown(native))
    freeze()
    while control is not None:
        command, descriptors = Zygote(control, native).run()
        if command is None:
            os._exit(0)
        control = work(app, command["worker"], descriptors, settings, control, native)


def set_up(settings):
    os.chdir(settings["project"])
    sys.argv = ["tierce"]
    ours = [settings["project"], *settings["pythonpath"]]
    sys.path[:] = ours + [entry for entry in sys.path if entry != "" and entry not in ours]
    if "" in sys.path_importer_cache:
        del sys.path_importer_cache[""]
