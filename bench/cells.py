"""The cells: what is asked of every server, and what is read from it.

A cell measures one server at a time and gives a `Reading` for each of its tables. Invariant: whatever went wrong is among
the reading's errors, which keep it out of the comparison.
"""

import os
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Callable

import load
import peers
from clients import IdleConnections, spread, who_answers
from peers import Handlers, Install, Shape
from report import CPU, KEPT_P99, KEPT_RATE, MEMORY, OTHERS, P50, P99, RATE, Against, Table
from servers import Server

WARM_UP = 1000  # requests; lazy imports, first allocations and the first growth of pools are not what is measured


@dataclass(frozen=True)
class Plan:
    """How long and how much."""

    seconds: int  # of each run of wrk
    requests: int  # of each run of ab
    rate: float = 0  # of requests at fixed times, in cells that want it


@dataclass
class Reading:
    values: dict
    errors: list = field(default_factory=list)
    note: str = ""
    raw: list = field(default_factory=list)


@dataclass(frozen=True)
class Bed:
    """Where, and with what, a cell measures."""

    install: Install
    directory: Path  # for logs and files of the servers
    plan: Plan
    commands: dict  # the servers' command lines, for the record

    @contextmanager
    def server(self, setup, cores):
        with Server(setup, self.install.apps, self.directory, cores) as server:
            self.commands.setdefault(setup.label, server.words)
            yield server

    def aside(self, name):
        """For servers whose files shall not meet those of the others."""
        return replace(self, directory=self.directory / name)


def halves(pinned):
    """Cores for the server, and for the load; None for all."""
    cores = sorted(os.sched_getaffinity(0))
    return ({cores[0]}, {cores[1]}) if pinned else (None, None)


@dataclass(frozen=True)
class Cell:
    name: str
    shape: Shape
    tables: tuple
    measure: Callable  # (server, shape, plan, cores of the load) -> {table's key: Reading}
    pinned: bool = False  # the server on one core, the load on another
    log: bool = False  # one more row: Tierce with its access log
    once: bool = False  # what does not vary between rounds
    group: str = "wsgi"
    find_rate: bool = False

    def setups(self, install, names):
        kinds = [peers.tierce, *([peers.tierce_with_log] if self.log else [])]
        kinds += [peers.PEERS[name] for name in names if name in peers.PEERS]
        return [setup for kind in kinds for setup in kind(install, self.shape)]

    def readings(self, setup, bed):
        server_cores, load_cores = halves(self.pinned)
        with bed.server(setup, server_cores) as server:
            return self.measure(server, self.shape, bed.plan, load_cores)


def steady(server, shape, plan, cores):
    warm_up(server, shape.connections, cores)
    return {"": live(server, shape.connections, plan, cores)}


def warm_up(server, connections, cores):
    load.ab(server.url(), WARM_UP, connections, cores)


def live(server, connections, plan, cores):
    """wrk for the plan's time, and what the server has used meanwhile."""
    before = server.cpu_seconds()
    result = load.wrk(server.url(), connections, plan.seconds, cores)
    return reading(result, cpu=(server.cpu_seconds() - before) / max(1, result.requests))


def reading(result, cpu=None, **more):
    values = {RATE.key: result.rate, P50.key: result.p50, P99.key: result.p99, **more}
    if cpu is not None:
        values[CPU.key] = cpu * 1e6
    return Reading(values, list(result.errors), raw=[asdict(result)])


def demo(server, shape, plan, cores):
    """ab's time from the first to the last request, with whatever the server has to grow meanwhile; then who answers."""
    before = server.cpu_seconds()
    result = load.ab(server.url(), plan.requests, 1000, cores)
    used = server.cpu_seconds() - before
    outcome = reading(result, cpu=used / result.requests)
    hosts, processes = who_answers(server.port, requests=500, at_a_time=100)
    outcome.note = spread(hosts, processes)
    return {"": outcome}


def mixed(server, shape, plan, cores):
    warm_up(server, 8, cores)
    readings = {"alone": live(server, 8, plan, cores)}
    readings["burning"] = beside(server, "/burn", 4, plan, cores)
    # The last, as its handlers outlive their clients for a second.
    readings["waiting"] = beside(server, "/wait", 64, plan, cores)
    return readings


def beside(server, path, others, plan, cores):
    """The fast handler, while so many connections ask for another one all the time."""
    background_seconds = plan.seconds + 1
    background = load.start_wrk(server.url(path), others, background_seconds, cores)
    try:
        time.sleep(0.5)  # the others shall be in their handlers; that is a time, not a state that all servers show
        result = load.wrk(server.url(), 8, plan.seconds, cores)
        rest = load.finish_wrk(background, background_seconds)
    finally:
        load.end(background)
    outcome = reading(result, **{OTHERS.key: rest.rate})
    outcome.errors += [f"{path}: {error}" for error in rest.errors]
    outcome.raw.append(asdict(rest))
    return outcome


IDLE = 5000
KEPT = {KEPT_RATE: RATE, KEPT_P99: P99}


def idle(server, shape, plan, cores):
    warm_up(server, 64, cores)
    without = live(server, 64, plan, cores)
    with IdleConnections(server.port, IDLE) as connections:
        beside_them = live(server, 64, plan, cores)
        if closed := connections.closed():
            beside_them.errors.append(f"{closed:,} of {IDLE:,} idle connections were closed by the server")
    errors = without.errors + beside_them.errors
    kept = {} if errors else {new.key: beside_them.values[old.key] / without.values[old.key] for new, old in KEPT.items()}
    change = Reading(kept, errors)
    return {"without": without, "with": beside_them, "change": change}


def memory(server, shape, plan, cores):
    result = load.ab(server.url(), plan.requests, 1000, cores)
    size, processes = server.pss_bytes()
    outcome = Reading({MEMORY.key: size / 1e6, RATE.key: result.rate}, list(result.errors), raw=[asdict(result)])
    outcome.note = f"{processes} processes"
    return {"": outcome}


LATENCY = (RATE, CPU, P50, P99)
FAST = (RATE, P50, P99, OTHERS)

CELLS = (
    Cell(
        "hello",
        Shape("hello", processes=1, connections=64),
        (Table("", "Flask hello: 1 worker on 1 core, 64 connections, the load on another core", LATENCY),),
        steady,
        pinned=True,
        log=True,
    ),
    Cell(
        "bare",
        Shape("bare", processes=1, connections=64),
        (Table("", "bare WSGI: 1 worker on 1 core, 64 connections, the load on another core", LATENCY),),
        steady,
        pinned=True,
    ),
    Cell(
        "two",
        Shape("hello", processes=2, connections=64),
        (Table("", "Flask hello: 2 workers, 64 connections, nothing pinned", LATENCY),),
        steady,
    ),
    Cell(
        "one",
        Shape("hello", processes=1, connections=1),
        (Table("", "Flask hello: 1 worker on 1 core, 1 connection, the load on another core", LATENCY),),
        steady,
        pinned=True,
    ),
    Cell(
        "demo",
        Shape("demo", processes=2, nodes=5, workers=5, connections=1000, handlers=Handlers.WAITING),
        (Table("", "the demo: ab -l -c 1000, Flask waiting 0.1 s; no server can exceed 10,000 requests/s", LATENCY),),
        demo,
    ),
    Cell(
        "mixed",
        Shape("mixed", processes=2, connections=72, handlers=Handlers.MIXED),
        (
            Table("alone", "fast handlers: 2 workers, 8 connections, alone", LATENCY),
            Table("waiting", "fast handlers beside 64 connections whose handlers wait 1 s", FAST),
            Table("burning", "fast handlers beside 4 connections whose handlers compute for 20 ms", FAST),
        ),
        mixed,
    ),
    Cell(
        "idle",
        Shape("hello", processes=2, connections=IDLE + 64, idle=True),
        (
            Table("without", "Flask hello: 2 workers, 64 connections, before the next table", LATENCY),
            Table("with", "the same beside 5,000 idle keep-alive connections", LATENCY),
            Table("change", "what the idle connections change: with ÷ without", (KEPT_RATE, KEPT_P99), Against.NOTHING),
        ),
        idle,
    ),
    Cell(
        "memory",
        Shape("demo", processes=25, nodes=5, workers=5, connections=1000, handlers=Handlers.WAITING),
        (Table("", "memory of 5 × 5 workers after the demo's load (PSS of all processes)", (MEMORY, RATE)),),
        memory,
        once=True,
    ),
)
