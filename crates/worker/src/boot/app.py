"""The application: imported, and found in its module.

Invariant: the supervisor is told exactly one of `imported` and `failed`.
"""

import ast
import importlib
import inspect
import os
import sys
import traceback

from tierce_process import PACKET, say


def load(settings, control):
    """The callable; None after the supervisor has been told why there is none."""
    module, wanted = None, settings["callable"]
    try:
        module = importlib.import_module(settings["module"])
        app = resolve(module, wanted)
        if not callable(app):
            kind = type(app).__name__
            raise TypeError(f"`{settings['module']}:{wanted}` is no application but of type {kind}")
        if not takes_requests(app):
            raise TypeError(f"`{settings['module']}:{wanted}` cannot be called with environ and start_response")
    except BaseException as error:
        say(control, **failure(error, module))
        return None
    threads = len(os.listdir("/proc/self/task"))
    python = ".".join(str(part) for part in sys.version_info[:3])
    interface = "asgi" if is_asgi(app) else "wsgi"
    say(control, say="imported", python=python, interface=interface, threads=threads, callable=wanted)
    return app


def resolve(module, wanted):
    """`app`, `package.app` or `create_app("production")`: names, and calls with literal arguments."""
    return evaluate(ast.parse(wanted.strip(), mode="eval").body, module, wanted)


def evaluate(node, module, wanted):
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    if isinstance(node, ast.Attribute):
        return getattr(evaluate(node.value, module, wanted), node.attr)
    if isinstance(node, ast.Call):
        try:
            positional = [ast.literal_eval(argument) for argument in node.args]
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        except ValueError:
            raise ValueError(f"the arguments in `{wanted}` must be plain values") from None
        return evaluate(node.func, module, wanted)(*positional, **named)
    raise ValueError(f"`{wanted}` is neither a name nor a call with plain arguments")


def is_asgi(app):
    """Whether calling it returns a coroutine, or (a class) an object whose call does."""
    call = getattr(app, "__call__", None)
    return inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(call)


def takes_requests(app):
    """False for a function of other parameters, mostly a factory that was named without `()`."""
    if not inspect.isfunction(app) or is_asgi(app):
        return True
    try:
        inspect.signature(app, follow_wrapped=False).bind({}, None)
    except TypeError:
        return False
    return True


def failure(error, module):
    """What to tell; a message must fit a packet, and the end of a traceback tells the most."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<"):
        trace = trace.tb_next
    if trace is not None and trace.tb_frame.f_code.co_filename == importlib.__file__:
        trace = trace.tb_next
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith("<frozen importlib"):
            trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return {
        "say": "failed",
        "cause": f"{type(error).__name__}: {error}"[: PACKET // 16],
        "traceback": text[-PACKET // 4 :],
        "missing_module": error.name if isinstance(error, ModuleNotFoundError) else None,
        "found": candidates(module) if module is not None else [],
    }


def candidates(module):
    """What in the module looks like an application."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or inspect.isclass(value) or inspect.ismodule(value):
            continue
        if name in ("create_app", "make_app") and inspect.isfunction(value):
            found.append(f"{name}()")
        elif callable(value) and (hasattr(value, "wsgi_app") or name in ("app", "application", "wsgi", "asgi")):
            found.append(name)
    return found[:16]
