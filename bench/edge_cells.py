"""The cells of the edge: what is asked of every proxy, and what is read from it.

The proxy has one core; upstreams and load share the other one, so that what a row shows is the proxy's. Invariant, as in
cells.py: whatever went wrong is among the reading's errors. Only where upstreams fail on purpose, what the clients met is a
figure of its own.
"""

import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable

import load
import proxies
import upstreams
from cells import LATENCY, Reading, halves, live, reading, steady, warm_up
from clients import IdleConnections
from proxies import Care, Serves, Work
from report import CPU, P50, P99, RATE, Against, Better, Metric, Table

HANDSHAKE_CPU = Metric("cpu_us", "CPU µs/handshake", Better.LESS)
FAILED = Metric("failed", "failed of 10,000", Better.FEWER)
PER_CONNECTION = Metric("connection_kib", "KiB/connection", Better.LESS)
FULL = 0.9  # of a core


@dataclass(frozen=True)
class EdgeCell:
    name: str
    work: Work
    tables: tuple
    measure: Callable  # (proxy, upstreams, work, plan, cores of the load) -> {table's key: Reading}
    group: str = "edge"
    upstreams: Callable = None  # (bed, work, cores) -> what they are, in a `with`; default: well ones
    pinned: bool = True
    once: bool = False
    known: tuple = tuple(proxies.PEERS)  # whose business it is
    find_rate: bool = False  # `plan.rate` is wanted: what the slowest of all takes easily
    numbers: tuple = ()  # of upstreams, each measured by itself

    def setups(self, install, names):
        kinds = [proxies.tierce, *(proxies.PEERS[name] for name in names if name in self.known)]
        return [setup for kind in kinds for setup in kind(install, self.work)]

    def readings(self, setup, bed):
        if not self.numbers:
            return self.readings_of(setup, bed, self.work)
        found = {}
        for number in self.numbers:
            work = replace(self.work, upstreams=number)
            [there] = {"tierce": proxies.tierce, **proxies.PEERS}[setup.peer](bed.install, work)
            found[str(number)] = self.readings_of(there, bed, work)[""]
        found["growth"] = growth(found)
        return found

    def readings_of(self, setup, bed, work):
        proxy_cores, load_cores = halves(self.pinned)
        with (self.upstreams or well)(bed, work, load_cores) as there, bed.server(setup, proxy_cores) as proxy:
            return self.measure(proxy, there, work, bed.plan, load_cores)

    def fastest(self, setup, bed):
        """Requests a second in a closed loop."""
        proxy_cores, load_cores = halves(self.pinned)
        with well(bed, self.work, load_cores), bed.server(setup, proxy_cores) as proxy:
            warm_up(proxy, self.work.connections, load_cores)
            return load.wrk(proxy.url(), self.work.connections, 1, load_cores).rate


def well(bed, work, cores):
    return upstreams.group(bed, range(work.upstreams), work.size, cores)


def only_files(bed, work, cores):
    upstreams.make_file(bed.directory, work.size)
    return nullcontext()


def closed_loop(proxy, _, work, plan, cores):
    """Where the proxy's core is not full, the rate is that of the upstream and the load, which share the other one."""
    found = steady(proxy, work, plan, cores)
    values = found[""].values
    if cores and (busy := values[RATE.key] * values[CPU.key] / 1e6) < FULL:
        found[""].note = f"its core was busy for {busy:.0%} of the time"
    return found


def connect(proxy, _, work, plan, cores):
    """ab without -k: a connection for each request."""
    warm_up(proxy, work.connections, cores)
    before = proxy.cpu_seconds()
    result = load.ab(proxy.url(), 2 * plan.requests, work.connections, cores)
    return {"": reading(result, cpu=(proxy.cpu_seconds() - before) / result.requests)}


def tail(proxy, _, work, plan, cores):
    warm_up(proxy, work.connections, cores)
    before = proxy.cpu_seconds()
    result = load.open_loop(proxy, plan.rate, 2 * plan.seconds, cores)
    outcome = reading(result, cpu=(proxy.cpu_seconds() - before) / result.requests)
    outcome.note = result.note
    return {"": outcome}


RATE_OF_ILL = 1000  # requests a second: a bit more than one in each upstream at a time
ANSWER_SECONDS = 0.005
ILL_SECONDS = 3  # times the plan's, so that probes have their say


def ill(proxy, bad, work, plan, cores, happens=None):
    """Requests at fixed times; after a sixth of them something `happens` to the fourth upstream. That requests fail is a
    figure here; only what the generator itself has done wrong makes the reading void."""
    seconds = ILL_SECONDS * plan.seconds
    warm_up(proxy, work.connections, cores)
    process = load.start_open_loop(proxy, RATE_OF_ILL, seconds, cores)
    try:
        if happens:
            time.sleep(seconds / 6)  # a time, not a state: until then all is well
            happens(bad)
        result = load.finish_open_loop(process, RATE_OF_ILL, seconds)
    finally:
        load.end(process)
    outcome = reading(replace(result, errors=load.of_generator(result)))
    outcome.values[FAILED.key] = result.failed / result.requests * 10_000
    outcome.note = "; ".join(error for error in result.errors if error not in outcome.errors)
    return {"": outcome}


def fourth_is(slower):
    delay = ANSWER_SECONDS * slower
    return lambda bed, _, cores: upstreams.good_and_bad(bed, cores, ANSWER_SECONDS, delay)


# A proxy may need two descriptors for each, and some more.
IDLE = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 2 // 5)


def idle(proxy, _, work, plan, cores):
    """The memory that comes with the connections. What was there before, buffers of the first requests too, is none of it."""
    warm_up(proxy, 64, cores)
    time.sleep(1)  # what is freed after use shall be so in both figures
    before = proxy.anonymous_bytes()
    with IdleConnections(proxy.port, IDLE) as connections:
        time.sleep(1)
        grown = proxy.anonymous_bytes() - before
        closed = connections.closed()
    errors = [f"{closed:,} of {IDLE:,} idle connections were closed by the server"] if closed else []
    return {"": Reading({PER_CONNECTION.key: grown / IDLE / 1024}, errors)}


def nodes(proxy, _, work, plan, cores):
    """Warm is a proxy here when each upstream has had requests, and has its connections."""
    load.wrk(proxy.url(), work.connections, 1, cores)
    return {"": live(proxy, work.connections, plan, cores)}


NUMBERS = (1, 10, 100, 1000)
GROWTH = tuple(Metric(f"growth_{number}", f"{number:,} nodes", Better.LESS) for number in NUMBERS[1:])


def growth(found):
    """CPU per request with many upstreams, divided by that with one, of the same round."""
    errors = [error for one in found.values() for error in one.errors]
    if errors:
        return Reading({}, errors)
    cpu = {number: found[str(number)].values[CPU.key] for number in NUMBERS}
    return Reading({metric.key: cpu[number] / cpu[1] for metric, number in zip(GROWTH, NUMBERS[1:], strict=True)})


def handshakes(proxy, _, work, plan, cores, kind):
    """A client needs about as long for a handshake as a server, so that one core of clients cannot fill one of the proxy:
    how many a core can make is to be had from the CPU time of one."""
    before, began = proxy.cpu_seconds(), time.monotonic()
    done, errors, raw = load.handshakes(proxy.port, kind, plan.seconds, cores)
    used, passed = proxy.cpu_seconds() - before, time.monotonic() - began
    note = f"{done / plan.seconds:,.0f} a second, with its core busy for {used / passed:.0%} of the time"
    return {"": Reading({HANDSHAKE_CPU.key: used / max(1, done) * 1e6}, errors, note, [raw])}


def plain(title, metrics=LATENCY):
    return (Table("", title, metrics),)


HOP = "one hop over TCP, 1 thread, 64 connections"
ILL = "one of four upstreams ({} ms) {}; {} requests/s, open loop"
TLS = "TLS 1.3, P-256 and X25519, 1 thread: {} handshakes, with a request each"
ONE_MB = 1024 * 1024


def ill_cell(name, what, slower=1, happens=None):
    title = ILL.format(round(ANSWER_SECONDS * 1000), what, f"{RATE_OF_ILL:,}")
    work = Work(upstreams=4, care=Care.ALL)
    measure = partial(ill, happens=happens)
    return EdgeCell(name, work, plain(title, (P50, P99, FAILED)), measure, upstreams=fourth_is(slower))


CELLS = (
    EdgeCell("hop", Work(), plain(HOP), closed_loop),
    EdgeCell("hop512", Work(connections=512), plain("one hop, 1 thread, 512 connections"), closed_loop),
    EdgeCell("hop10k", Work(size=10_000), plain(f"{HOP}, 10 KB"), closed_loop),
    EdgeCell("hop100k", Work(size=100_000), plain(f"{HOP}, 100 KB"), closed_loop),
    EdgeCell("hop2", Work(threads=2), plain("one hop, 2 threads, 64 connections, nothing pinned"), closed_loop, pinned=False),
    EdgeCell("connect", Work(), plain("one hop, 1 thread, a new connection for each request (ab)", (RATE, CPU, P99)), connect),
    EdgeCell(
        "tail",
        Work(),
        plain("one hop, open loop, at 70 % of what the slowest of them can", (P50, P99, CPU)),
        tail,
        find_rate=True,
    ),
    ill_cell("slowone", "ten times slower", slower=10),
    ill_cell("failone", "begins to answer 503 at once", happens=upstreams.Group.fail),
    ill_cell("blackhole", "begins to answer nothing", happens=upstreams.Group.hang),
    EdgeCell(
        "idle10k",
        Work(connections=IDLE),
        plain(f"{IDLE:,} idle keep-alive connections: anonymous memory that comes with them", (PER_CONNECTION,)),
        idle,
    ),
    EdgeCell(
        "nodes",
        Work(care=Care.PROBES),
        (
            *(Table(str(number), f"{HOP}, {number:,} upstreams", (RATE, CPU, P99)) for number in NUMBERS),
            Table("growth", "what upstreams cost: CPU per request ÷ that with one", GROWTH, Against.NOTHING),
        ),
        nodes,
        known=("haproxy", "nginx"),
        numbers=NUMBERS,
    ),
    EdgeCell(
        "handshake",
        Work(serves=Serves.HANDSHAKES),
        plain(TLS.format("full"), (HANDSHAKE_CPU,)),
        partial(handshakes, kind="full"),
        upstreams=only_files,
    ),
    EdgeCell(
        "resume",
        Work(serves=Serves.HANDSHAKES),
        plain(TLS.format("resumed"), (HANDSHAKE_CPU,)),
        partial(handshakes, kind="resumed"),
        upstreams=only_files,
    ),
    EdgeCell(
        "static10k",
        Work(serves=Serves.FILES, size=10_000),
        plain("files of 10 KB, 1 thread, 64 connections"),
        closed_loop,
        upstreams=only_files,
    ),
    EdgeCell(
        "static1m",
        Work(serves=Serves.FILES, size=ONE_MB),
        plain("files of 1 MB, 1 thread, 64 connections"),
        closed_loop,
        upstreams=only_files,
    ),
)
