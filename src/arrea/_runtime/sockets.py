"""Connected sockets between two processes."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_CLOEXEC, socket, socketpair


def blocking_pair(kind: int) -> tuple[socket, socket]:
    """Of which both ends block, whatever the program has set with `socket.setdefaulttimeout`."""
    pair = socketpair(AF_UNIX, kind | SOCK_CLOEXEC)
    for end in pair:
        end.setblocking(True)
    return pair
