"""What the kernel says of its clock: whether something (NTP, PTP) keeps it right, and how wrong it may be.

adjtimex(2) with no mode set: it reads, needs no privilege, and costs some 3 µs, so each call asks afresh. Times of a
recording are UTC as this clock had it; its state is kept beside them, because a time is worth what its clock was.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

STA_UNSYNC = 0x0040
TIME_ERROR = 5
"""adjtimex(2): no discipline, or none that may be trusted."""

UNKNOWN_ERROR_US = 16_000_000
"""The kernel's own word for "unknown": 16 s, from when it starts until something sets it."""


class _Timex(ctypes.Structure):
    """struct timex of a 64-bit Linux, with its reserved end."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time_s", ctypes.c_long),
        ("time_us", ctypes.c_long),
        ("tick", ctypes.c_long),
        ("rest", ctypes.c_byte * 112),
    )


@dataclass(frozen=True, slots=True)
class ClockState:
    """`error_ms` is the kernel's estimate, `error_ms_max` its bound; None is what the kernel does not know or tell."""

    synchronised: bool | None
    error_ms: float | None
    error_ms_max: float | None

    def fields(self) -> dict[str, object]:
        """As it stands in call detail."""
        return {"synchronised": self.synchronised, "error_ms": self.error_ms}


UNKNOWN = ClockState(None, None, None)
"""The kernel does not answer: another system, or a sandbox that forbids the question."""

_libc = ctypes.CDLL(None, use_errno=True)


def clock_state() -> ClockState:
    """The state now; `UNKNOWN` where the kernel cannot be asked."""
    timex = _Timex()
    try:
        answer = _libc.adjtimex(ctypes.byref(timex))
    except AttributeError:  # a C library without it
        return UNKNOWN
    if answer < 0:
        return UNKNOWN
    return interpret(answer, timex.status, timex.esterror, timex.maxerror)


def interpret(answer: int, status: int, estimated_us: int, maximum_us: int) -> ClockState:
    """What adjtimex's answer means."""
    synchronised = answer != TIME_ERROR and not status & STA_UNSYNC
    return ClockState(synchronised, _ms(estimated_us), _ms(maximum_us))


def _ms(us: int) -> float | None:
    return None if us >= UNKNOWN_ERROR_US else round(us / 1000, 3)
