"""Runs the lines of standard input with `subprocess` in a pool of threads: `threads.py WORKERS < lines`."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor


def run(line: str) -> bytes:
    return subprocess.run(
        ["/bin/sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout


with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    for output in pool.map(run, sys.stdin.read().splitlines()):
        sys.stdout.buffer.write(output)
