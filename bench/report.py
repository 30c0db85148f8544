"""From readings to tables: medians over the rounds with the least and the most, and Tierce beside the best peer.

Invariant: a ratio is a cost. Below 1 Tierce needs less, or serves more; above 1 it is behind, and the table says LOSS.
"""

import math
from dataclasses import dataclass
from enum import Enum
from statistics import median

WIDTH = 100
OURS = "tierce"
LEGEND = (
    "ratio: Tierce ÷ the best peer of the column (rates: that peer ÷ Tierce). Below 1 Tierce is ahead,\n"
    "above 1 it is behind: LOSS. All figures are medians over the rounds (least–most)."
)


class Better(Enum):
    LESS = "less"
    MORE = "more"
    FEWER = "fewer, and none is a figure like others"


@dataclass(frozen=True)
class Metric:
    key: str
    heading: str
    better: Better


class Against(Enum):
    """What the figures of a table are held against."""

    PEERS = "the best peer"
    NOTHING = "they are ratios already"


@dataclass(frozen=True)
class Table:
    key: str
    title: str
    metrics: tuple
    against: Against = Against.PEERS


RATE = Metric("rate", "requests/s", Better.MORE)
CPU = Metric("cpu_us", "CPU µs/request", Better.LESS)
P50 = Metric("p50_ms", "p50 ms", Better.LESS)
P99 = Metric("p99_ms", "p99 ms", Better.LESS)
OTHERS = Metric("others_rate", "others/s", Better.MORE)
MEMORY = Metric("pss_mb", "PSS MB", Better.LESS)
KEPT_RATE = Metric("kept_rate", "requests/s", Better.MORE)
KEPT_P99 = Metric("kept_p99", "p99", Better.LESS)


@dataclass(frozen=True)
class Row:
    """What the rounds have given for one server: for each round the values, or why they are void."""

    label: str
    rounds: tuple  # of {metric's key: value}
    void: str = ""
    note: str = ""

    def values(self, metric):
        return [values[metric.key] for values in self.rounds]


def render(table, rows):
    """The table as text."""
    columns = [[metric.heading] + [cell(row, metric) for row in rows] for metric in table.metrics]
    labels = ["", *(row.label for row in rows)]
    if table.against is Against.PEERS:
        columns = [column + ratio_cells(metric, rows) for column, metric in zip(columns, table.metrics, strict=True)]
        labels += ["ratio", ""]
    widths = [max(map(len, column)) for column in columns]
    margin = max(map(len, labels))
    lines = [f"== {table.title}"]
    for index, label in enumerate(labels):
        void = rows[index - 1].void if 0 < index <= len(rows) else ""
        cells = [column[index].ljust(width) for column, width in zip(columns, widths, strict=True)]
        if void:
            cells = [f"void: {void}"]
        lines.append(clip("  ".join([label.ljust(margin), *cells]).rstrip()))
    lines += [clip(f"{row.label}: {row.note}") for row in rows if row.note and not row.void]
    return "\n".join(lines)


def clip(line):
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def cell(row, metric):
    return "" if row.void else span(row.values(metric))


def span(values):
    """`52.1 (51.0–53.3)`, of one value the value alone."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}–{number(max(values))})"


def number(value):
    """Three figures; thousands are not hidden in an exponent."""
    if value == 0:
        return "0"
    value = float(f"{value:.3g}")
    if value >= 10_000:
        return f"{value / 1000:.1f}k" if value < 100_000 else f"{value / 1000:,.0f}k"
    decimals = 2 - math.floor(math.log10(value))
    return f"{value:,.{max(0, min(decimals, 3))}f}"


@dataclass(frozen=True)
class Comparison:
    """Tierce beside the peer with the best median: the quotient of the medians, and of each round's figures."""

    best: str
    ratio: float
    rounds: tuple

    @property
    def verdict(self):
        ratio = round(self.ratio, 2)
        return "even" if ratio == 1 else "ahead" if ratio < 1 else "LOSS"

    def span(self):
        if len(self.rounds) == 1:
            return f"{self.ratio:.2f}"
        return f"{self.ratio:.2f} ({min(self.rounds):.2f}–{max(self.rounds):.2f})"


def compare(metric, rows):
    """None where Tierce or every peer is void, or something took no time at all."""
    ours = next((row for row in rows if row.label == OURS and not row.void), None)
    peers = [row for row in rows if not row.label.startswith(OURS) and not row.void]
    if not ours or not peers:
        return None
    choose = max if metric.better is Better.MORE else min
    best = choose(peers, key=lambda row: median(row.values(metric)))
    mine, theirs = ours.values(metric), best.values(metric)
    if metric.better is not Better.FEWER and not all(mine + theirs):
        return None
    rounds = tuple(cost(metric, *pair) for pair in zip(mine, theirs, strict=True))
    return Comparison(best.label, cost(metric, median(mine), median(theirs)), rounds)


def cost(metric, mine, theirs):
    if metric.better is Better.MORE:
        return theirs / mine
    if theirs == 0:
        return 1 if mine == 0 else math.inf
    return mine / theirs


def ratio_cells(metric, rows):
    found = compare(metric, rows)
    return [found.span(), f"{found.verdict}, {found.best}"] if found else ["none", ""]


def losses(tables):
    """One line for all of them; `tables` are pairs of a name and (table, rows)."""
    found = []
    for name, table, rows in tables:
        found += [f"  {name}: void, {row.void}" for row in rows if row.label == OURS and row.void]
        for metric in table.metrics if table.against is Against.PEERS else ():
            compared = compare(metric, rows)
            if compared and compared.verdict == "LOSS":
                found.append(f"  {name}: {metric.heading} {compared.ratio:.2f} × {compared.best}")
    return "\n".join([f"LOSSES ({len(found)}):", *found]) if found else "no losses"
