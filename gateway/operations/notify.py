"""Tells the service manager how the program is: sd_notify(3), a datagram to the socket that the environment names.

Nothing happens where no manager asked to be told. A message that cannot be sent is lost: the manager's own timeouts
deal with silence, and a program that ends because nobody listens to it would help nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Self

BEATS_A_LIMIT = 3  # of the watchdog's patience: two may be late or lost


class Notifier:
    """One program's line to its service manager. `address` is None where there is none."""

    def __init__(self, address: str | None, watchdog_s: float | None = None) -> None:
        self._address = address
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int | None = None) -> Self:
        """By NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; children should not inherit them."""
        address = environ.get("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")):
            return cls(None)
        meant = environ.get("WATCHDOG_PID", "") in ("", str(pid or os.getpid()))
        usec = environ.get("WATCHDOG_USEC", "")
        watchdog_s = int(usec) / 1e6 if meant and usec.isdecimal() and int(usec) > 0 else None
        return cls(address, watchdog_s)

    def ready(self, status: str = "") -> None:
        """Start-up is over, or a reload is."""
        self._send("READY=1", status and f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` follows."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "", extend_s: float = 0.0) -> None:
        """The end has begun; it may take `extend_s`."""
        extend = f"EXTEND_TIMEOUT_USEC={round(extend_s * 1e6)}" if extend_s else ""
        self._send("STOPPING=1", status and f"STATUS={status}", extend)

    def alive(self) -> None:
        """The watchdog need not act."""
        self._send("WATCHDOG=1")

    async def beat(self) -> None:
        """Say that the event loop turns, as often as the watchdog wants; returns at once if it does not want."""
        if self.watchdog_s is None:
            return
        while True:
            self.alive()
            await asyncio.sleep(self.watchdog_s / BEATS_A_LIMIT)

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        where = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(line for line in lines if line).encode(), where)
