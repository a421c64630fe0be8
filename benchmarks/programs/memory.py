"""What this process and those that it started hold, as the kernel counts it."""

import os
from pathlib import Path


def held_kib(pid: int | str = "self", field: str = "VmRSS") -> int:
    """`VmRSS` is what it holds now, `VmHWM` the most that it ever held. 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def largest_descendant_kib() -> int:
    """The largest, not their sum: that changes with their number, too."""
    return max((held_kib(pid) for pid in _descendants(os.getpid())), default=0)


def _descendants(ancestor: int) -> list[int]:
    parents = {int(path.name): _parent(path) for path in Path("/proc").glob("[0-9]*")}
    found = [ancestor]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def _parent(path: Path) -> int:
    try:
        return int((path / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
