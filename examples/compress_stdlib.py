"""Hash and compress every module of the standard library, several hundred commands at once, and check all of it.

Each module is one shell command: `sha256sum` reads it, `gzip` writes it to a temporary directory. Afterwards each
result is compared with what Python's own `hashlib` and `gzip` make of the same file.

    python examples/compress_stdlib.py
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shlex
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import arrea

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "__pycache__"}


def modules() -> list[Path]:
    """The standard library's source files."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(
        path for path in root.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(root).parts)
    )


def command(module: Path, target: Path) -> arrea.Task:
    source, packed = shlex.quote(str(module)), shlex.quote(str(target))
    return arrea.Task(f"sha256sum < {source} && gzip -9 < {source} > {packed}", label=module)


def problem(result: arrea.Result, target: Path) -> str | None:
    """What is wrong with a result, by an independent computation; None if nothing is."""
    if not result.success or result.data is None:
        return str(result.error)
    original = result.label.read_bytes()
    if result.data.stdout.split()[0] != hashlib.sha256(original).hexdigest():
        return f"{result.label}: sha256sum and hashlib disagree"
    if gzip.decompress(target.read_bytes()) != original:
        return f"{result.label}: what gzip packed is not what the file holds"
    return None


def main() -> int:
    sources = modules()
    workers = (os.cpu_count() or 1) * 2
    with tempfile.TemporaryDirectory() as directory, arrea.Engine(max_commands_per_batch=None) as engine:
        targets = [Path(directory, f"{number}.gz") for number in range(len(sources))]
        began = time.monotonic()
        results = engine.run(map(command, sources, targets), workers=workers, timeout="1m")
        took = time.monotonic() - began
        problems = [
            found for one, target in zip(results, targets, strict=True) if (found := problem(one, target))
        ]
        packed = sum(target.stat().st_size for target in targets)
    return report(sources, results, packed, took, problems)


def report(
    sources: list[Path], results: arrea.BatchResult, packed: int, took: float, problems: list[str]
) -> int:
    size = sum(source.stat().st_size for source in sources)
    print(f"{len(results)} modules, {size / 2**20:.1f} MiB, packed into {packed / 2**20:.1f} MiB")
    print(f"{took:.2f} s, {len(results) / took:.0f} commands a second")
    for line in problems[:10]:
        print(line, file=sys.stderr)
    if problems or len(results) != len(sources):
        print(f"WRONG: {len(problems)} of {len(sources)} results", file=sys.stderr)
        return 1
    print(f"checked: all {len(results)} hashes and archives agree with hashlib and gzip")
    return 0


if __name__ == "__main__":
    sys.exit(main())
