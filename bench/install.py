"""What the bench needs besides Tierce: the peers in a virtual environment of their own, and wrk and ab.

Invariant: what `prepare` has accepted is there in these versions; a half-made environment is made anew.
"""

import os
import shutil
import subprocess
import sys
from importlib.metadata import distributions

PACKAGES = (
    "flask==3.1.3",
    "granian==2.8.7",
    "gunicorn[gevent]==27.0.1",
    "gevent==26.9.0",
    "pyuwsgi==2.0.30.post1",
    "waitress==3.0.2",
)
# gunicorn's parser in C, which its documentation recommends; it is compiled, and not always to be had in a fitting version.
OPTIONAL = ("gunicorn[fast]==27.0.1",)

TOOLS = {"wrk": "wrk", "ab": "apache2-utils"}  # program, and its package in Debian


class Missing(Exception):
    """Something is not there and cannot be installed; the text says what to do."""


def prepare(venv):
    """Installs what is missing."""
    prepare_tools()
    prepare_venv(venv)


def prepare_tools():
    missing = [program for program in TOOLS if not shutil.which(program)]
    if not missing:
        return
    packages = [TOOLS[program] for program in missing]
    by_hand = f"install {' and '.join(missing)} (Debian: apt install {' '.join(packages)}) and start again"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing(f"{' and '.join(missing)}: not found, and only root on Debian could install it here; {by_hand}")
    say(f"installing {' '.join(packages)}")
    try:
        for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
            run("apt-get", *words)
    except Missing as error:
        raise Missing(f"{error}; {by_hand}") from None
    if still := [program for program in missing if not shutil.which(program)]:
        raise Missing(f"{' and '.join(still)}: not found after the installation; {by_hand}")


def prepare_venv(venv):
    stamp, wanted = venv / "packages", " ".join(PACKAGES + OPTIONAL)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"making {venv} with {' '.join(PACKAGES)}")
    shutil.rmtree(venv, ignore_errors=True)
    run(sys.executable, "-m", "venv", venv)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, *PACKAGES)
    try:
        run(*pip, *OPTIONAL)
    except Missing:
        say(f"{' '.join(OPTIONAL)} cannot be installed here: gunicorn runs with its parser in Python")
    stamp.write_text(wanted)


def run(*words):
    words = [str(word) for word in words]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        last = result.stdout.strip().splitlines()[-1:] or ["it said nothing"]
        raise Missing(f"`{' '.join(words)}` failed: {last[0]}")


def versions(venv):
    """Of the packages in the environment, for the record."""
    folders = [str(folder) for folder in venv.glob("lib/python*/site-packages")]
    found = {package.name.lower(): package.version for package in distributions(path=folders)}
    return dict(sorted(found.items()))


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)
