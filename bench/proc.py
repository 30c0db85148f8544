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


def parse_size(text, name):
    """Bytes of `name` in /proc/PID/smaps_rollup."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {name} in smaps_rollup")


def pss_bytes(root):
    """PSS of the whole tree, where shared pages count by their share, and of how many processes."""
    sizes = sizes_of_tree(root, "Pss")
    return sum(sizes), len(sizes)


def anonymous_bytes(root):
    """Memory of the whole tree that is no file's: what it has allocated and touched."""
    return sum(sizes_of_tree(root, "Anonymous"))


def sizes_of_tree(root, name):
    sizes = []
    for pid in tree(root, all_stats()):
        try:
            sizes.append(parse_size(Path(f"/proc/{pid}/smaps_rollup").read_text(), name))
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return sizes
