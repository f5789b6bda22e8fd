"""Who owns something for the time of a lease, as rows name it: `host:pid:random`."""

from __future__ import annotations

import os
import socket


def is_gone(owner: str) -> bool:
    """Whether an owner is a process of this machine that has ended: nobody has to wait for its lease."""
    host, pid = (*owner.rsplit(":", 2), "")[:2]
    return host == socket.gethostname() and pid.isdecimal() and not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
