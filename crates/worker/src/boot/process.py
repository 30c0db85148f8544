"""What zygote and worker have in common: how they speak to the supervisor, what they print, what they share by a fork.

Invariant: a message fits one packet.
"""

import gc
import json
import sys

PACKET = 64 * 1024


def say(control, **message):
    control.send(json.dumps(message).encode())


def line_by_line():
    """So that the log has what is printed when it is printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True)
        except Exception:
            # None, closed, or something of the application's own.
            pass


def freeze():
    """Makes forks cheap: what there is now is not looked at by their collectors, and so stays shared."""
    # What waits in a buffer would be printed by every worker.
    flush()
    # What was frozen before and is garbage by now would be so for ever.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def flush():
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            pass
