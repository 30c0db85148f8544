"""The load generators: wrk, ab and our own for fixed times and for handshakes; how they are run, and what they say.

Invariant: whatever they report as gone wrong is in `errors`; ab calls an answer of 503 a success, so its Non-2xx counts.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from servers import Failed

UNITS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


@dataclass(frozen=True)
class Result:
    """Of one run. Latencies in milliseconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    output: str
    errors: list = field(default_factory=list)
    failed: int = 0
    note: str = ""


def start_wrk(url, connections, seconds, cores):
    """One thread is enough: wrk needs a small part of what any of these servers needs."""
    return start(cores, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "--latency", url)


def finish_wrk(process, seconds):
    return parse_wrk(output_of(process, seconds + 40))


def wrk(url, connections, seconds, cores):
    return finish_wrk(start_wrk(url, connections, seconds, cores), seconds)


def ab(url, requests, concurrency, cores):
    """A connection for each request. `-l`: answers may differ in length, as the process ids in them do."""
    process = start(cores, "ab", "-q", "-l", "-n", str(requests), "-c", str(concurrency), url)
    return parse_ab(output_of(process, 90), requests)


def start(cores, *words):
    """On these cores; None for all."""
    pin = (lambda: os.sched_setaffinity(0, cores)) if cores else None
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=pin)


def output_of(process, timeout):
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        raise Failed(f"{process.args[0]} has not ended in {timeout} s") from None
    finally:
        end(process)


HERE = Path(__file__).resolve().parent
LATE_MS = 1  # a generator that sends a hundredth of its requests later than this,
LATE_SHARE = 0.2  # and later than this share of the p99 that it has measured, measures itself
BUSY_PERCENT = 70


def start_open_loop(server, rate, seconds, cores):
    words = [server.host, str(server.port), server.setup.path, "--rate", str(rate), "--seconds", str(seconds)]
    return start(cores, sys.executable, str(HERE / "openloop.py"), *words)


def finish_open_loop(process, rate, seconds):
    return parse_open_loop(output_of(process, seconds + 40), rate)


def open_loop(server, rate, seconds, cores):
    return finish_open_loop(start_open_loop(server, rate, seconds, cores), rate, seconds)


def parse_open_loop(output, rate):
    try:
        found = json.loads(output)
    except ValueError:
        raise Failed(f"the open loop gave up: {output.strip()[-200:] or 'no output'}") from None
    errors = [f"{number:,} requests: {why}" for why, number in found["failures"].items()]
    errors = late(found) + errors
    note = f"{rate:,.0f} requests/s wanted; sent {found['late_p99_ms']:.2f} ms late (p99)"
    failed = sum(found["failures"].values())
    return Result(found["requests"], rate, found["p50_ms"], found["p99_ms"], output, errors, failed, note)


def of_generator(result):
    """The errors that are not the server's."""
    return late(json.loads(result.output))


def late(found):
    allowed = max(LATE_MS, LATE_SHARE * found["p99_ms"])
    if found["late_p99_ms"] <= allowed and found["busy_percent"] <= BUSY_PERCENT:
        return []
    return [f"the load was {found['late_p99_ms']:.1f} ms late (p99), and {found['busy_percent']:.0f} % busy"]


CLIENTS = 4  # that make handshakes: while one waits for the server, another one computes


def handshakes(port, kind, seconds, cores):
    """How many there were, what went wrong, and what the clients have said."""
    words = [sys.executable, str(HERE / "handshakes.py"), str(port), str(seconds), kind]
    clients = [start(cores, *words) for _ in range(CLIENTS)]
    try:
        outputs = [output_of(client, seconds + 20) for client in clients]
    finally:
        for client in clients:
            end(client)
    try:
        found = [json.loads(output) for output in outputs]
    except ValueError:
        raise Failed(f"the client of handshakes gave up: {''.join(outputs).strip()[-200:]}") from None
    errors = [one["error"] for one in found if one["error"]]
    return sum(one["handshakes"] for one in found), errors, found


def end(process):
    if process.poll() is None:
        process.kill()
        process.wait()


def parse_wrk(output):
    requests = number(r"(\d+) requests in", output)
    rate = number(r"Requests/sec:\s+([\d.]+)", output)
    p50, p99 = latency("50", output), latency("99", output)
    if requests is None or rate is None or p50 is None or p99 is None:
        raise Failed(f"wrk gave up: {' '.join(output.split())[:200] or 'no output'}")
    errors = [] if requests else ["not one request was answered"]
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        errors.append(f"{int(found[1]):,} answers were not 2xx")
    if found := re.search(r"Socket errors: (.+)", output):
        counts = [part.strip() for part in found[1].split(",") if not part.endswith(" 0")]
        errors.append(f"connections failed: {', '.join(counts)}")
    return Result(int(requests), rate, p50, p99, output, errors)


def latency(percentile, output):
    found = re.search(rf"^\s*{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.MULTILINE)
    return float(found[1]) * UNITS[found[2]] if found else None


def parse_ab(output, wanted):
    complete = number(r"Complete requests:\s+(\d+)", output)
    rate = number(r"Requests per second:\s+([\d.]+)", output)
    p50, p99 = number(r"^\s*50%\s+(\d+)", output), number(r"^\s*99%\s+(\d+)", output)
    if not complete or rate is None or p50 is None or p99 is None:
        raise Failed(f"ab gave up: {'; '.join(output.strip().splitlines()[-2:]) or 'no output'}")
    errors = []
    if complete != wanted:
        errors.append(f"{wanted - int(complete):,} of {wanted:,} requests were not completed")
    if failed := number(r"Failed requests:\s+(\d+)", output):
        errors.append(f"{int(failed):,} requests failed")
    if refused := number(r"Non-2xx responses:\s+(\d+)", output):
        errors.append(f"{int(refused):,} answers were not 2xx")
    return Result(int(complete), rate, p50, p99, output, errors)


def number(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    return float(found[1]) if found else None
