"""What a process and everything it has started have used, from /proc.

Invariant: CPU time of children that have ended counts too; the kernel adds it to their parent when that waits for them.
What has left the tree (a daemon) is not seen: servers run in the foreground here.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    parent: int
    ticks: int


def parse_stat(text):
    """A line of /proc/PID/stat. The name stands in parentheses and may hold anything, parentheses too."""
    fields = text[text.rindex(")") + 1 :].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return Stat(parent=int(fields[1]), ticks=user + system + children_user + children_system)


def all_stats():
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except OSError:
                continue  # it has ended meanwhile
    return stats


def tree(root, stats):
    """`root` and its descendants."""
    children = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found, waiting = [], [root] if root in stats else []
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(root):
    """User and system time of the whole tree."""
    stats = all_stats()
    return sum(stats[pid].ticks for pid in tree(root, stats)) / TICKS


def parse_pss(text):
    """Bytes of PSS in /proc/PID/smaps_rollup: shared pages count by their share."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise ValueError("no Pss in smaps_rollup")


def pss_bytes(root):
    """PSS of the whole tree, and of how many processes."""
    sizes = []
    for pid in tree(root, all_stats()):
        try:
            sizes.append(parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text()))
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return sum(sizes), len(sizes)
