"""Log lines: one JSON object each, constant text, identifiers as fields.

No number, name, address, word or key is ever a field. Of what libraries and the interpreter log only the first line of
the constant text is kept: their arguments, and the messages of exceptions, may hold what a peer sent. An event that
repeats is told a number of times and then counted: the summary says how often it came.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

BURST = 20  # lines of one event in a window: enough to see which calls, too few to fill a disk at 500 refusals a second
WINDOW_S = 10.0
EVENTS_MAX = 1000  # different events that are counted at once; the program has some hundred, then the oldest goes
FOREIGN_CHARACTERS_MAX = 200  # of a library's text

OURS = ("gateway", "media", "storage", "transcription", "__main__")
"""Loggers whose text is constant and whose fields are chosen; `tests/gateway/test_logs.py` holds them to it."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_CHATTY = (
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "nats",
    "httpx",
    "faster_whisper",
    "sqlalchemy",
    "alembic",
    "aioice",
    "aiortc",
)

_about: ContextVar[dict[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(*, call: str = "", tenant: str = "") -> Iterator[None]:
    """Log lines from here on, and from tasks begun in here, carry these ids unless they name others."""
    named = {name: value for name, value in (("call", call), ("tenant", tenant)) if value}
    token = _about.set((_about.get() or {}) | named)
    try:
        yield
    finally:
        _about.reset(token)


class JsonFormatter(logging.Formatter):
    """Renders a record with its extra fields; exceptions as type and place, never as their message's data."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        line |= _about.get() or {}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["where"] = _where(record.exc_info[2])
        return json.dumps(line, default=lambda value: type(value).__name__)


def _event(record: logging.LogRecord) -> str:
    """The constant text: ours whole, another's first line, never with its arguments."""
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    if record.name.partition(".")[0] in OURS:
        return record.msg
    return record.msg.partition("\n")[0][:FOREIGN_CHARACTERS_MAX]


def _where(trace: TracebackType | None) -> str | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else f"{trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}"


@dataclass(slots=True)
class _Window:
    since: float
    level: int
    logger: str
    seen: int = 0


@dataclass(frozen=True, slots=True)
class Repeated:
    """An event that came more often in a window than it was told."""

    logger: str
    level: int
    event: str
    reason: str
    times: int


class Repeats:
    """Which lines of an event are told: the first `burst` of each window, the rest is counted. Time is an argument."""

    def __init__(self, burst: int = BURST, window_s: float = WINDOW_S, events_max: int = EVENTS_MAX) -> None:
        self._burst, self._window_s, self._events_max = burst, window_s, events_max
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()

    def admit(self, logger: str, level: int, event: str, reason: str, now: float) -> bool:
        """Whether this line is told. `reason` is a constant text too, where an event has several causes."""
        key = (event, reason)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(now, level, logger)
        window.seen += 1
        return window.seen <= self._burst

    def over(self, now: float) -> list[Repeated]:
        """Windows that ended, or that there are too many of; told are those in which lines were left out."""
        told = []
        while self._windows:
            (event, reason), window = next(iter(self._windows.items()))
            if now - window.since < self._window_s and len(self._windows) <= self._events_max:
                break
            del self._windows[event, reason]
            if window.seen > self._burst:
                told.append(Repeated(window.logger, window.level, event, reason, window.seen - self._burst))
        return told

    @property
    def waiting(self) -> bool:
        """Whether lines were left out that no summary tells of yet."""
        return any(window.seen > self._burst for window in self._windows.values())


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream and holds back what repeats. A summary follows by a timer, if no line does before."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._repeats = Repeats()
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called with the handler's lock held, from whichever thread logs."""
        now = self._clock()
        self._summarise(now)
        event, reason = _event(record), getattr(record, "reason", "")
        if self._repeats.admit(record.name, record.levelno, event, str(reason), now):
            super().emit(record)
        elif self._timer is None:
            self._timer = threading.Timer(WINDOW_S, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Tell what was left out so far."""
        self._summarise(float("inf"))
        if self._timer is not None:
            self._timer.cancel()
        super().close()

    def _on_timer(self) -> None:
        with self.lock or threading.RLock():
            self._timer = None
            self._summarise(self._clock())
            if self._repeats.waiting:
                self._timer = threading.Timer(WINDOW_S, self._on_timer)
                self._timer.daemon = True
                self._timer.start()

    def _summarise(self, now: float) -> None:
        for told in self._repeats.over(now):
            fields: dict[str, object] = {"name": told.logger, "levelno": told.level, "msg": "event repeated"}
            fields |= {"levelname": logging.getLevelName(told.level), "repeated": told.event, "times": told.times}
            super().emit(logging.makeLogRecord(fields | ({"reason": told.reason} if told.reason else {})))


def start(level: str = "info") -> None:
    """Send log lines of this process to standard error, also those of an exception that nobody caught."""
    handler = LimitedHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    set_level(level)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """From now on log from this level up: debug, info, warning or error."""
    logging.getLogger().setLevel(level.upper())


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    """Python's own report would print the exception's message, which may quote what was read."""
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger(__name__).critical("uncaught", exc_info=(kind, error or kind(), trace))
