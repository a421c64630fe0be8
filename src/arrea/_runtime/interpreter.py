"""Which Python interpreter runs what Arrea needs beside the host: the guardian, and the seed of worker processes."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def find_interpreter() -> str:
    """Its path. Raises `FileNotFoundError` where there is none."""
    for path in _interpreters():
        if os.access(path, os.X_OK):
            return path
    text = f"no Python interpreter is found to run it: sys.executable is {sys.executable!r}"
    raise FileNotFoundError(errno.ENOENT, f"{text}, and {sys.base_prefix!r} has no bin/python3")


def _interpreters() -> Iterator[str]:
    """Where one may be. A program that embeds Python, or was frozen, is none itself."""
    is_python = os.path.basename(sys.executable or "").startswith(("python", "pypy"))
    if is_python and not getattr(sys, "frozen", False):
        yield sys.executable
    for name in (f"python{sys.version_info[0]}.{sys.version_info[1]}", "python3"):
        yield os.path.join(sys.base_prefix, "bin", name)


def home() -> str:
    """The directory that this package lies in, for the path of imports."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
