"""Log lines: constant text, chosen fields, no flood, and nothing in them that a peer could have sent."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.operations import logs
from gateway.operations.logs import BURST, EVENTS_MAX, WINDOW_S, JsonFormatter, LimitedHandler, Repeats

ROOT = Path(__file__).parents[3]
SECRET = "+31612345678"
METHODS = ("debug", "info", "warning", "error", "exception", "critical")

FORBIDDEN = frozenset(
    {
        *("number", "from", "to", "caller", "called", "display", "user", "uri", "address", "host", "ip", "source"),
        *("text", "word", "words", "transcript", "digits", "key", "secret", "token", "password", "body", "sdp"),
    }
)
"""Names that a field with personal data, content or a key would have."""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    """What a logger named `gateway.test` and one of a library write."""
    written = io.StringIO()
    handler = LimitedHandler(written, clock)
    handler.setFormatter(JsonFormatter())
    names = ("gateway.test", "somebody.else")
    for name in names:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False
        logging.getLogger(name).setLevel("INFO")
    yield written
    for name in names:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).propagate = True
    handler.close()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_its_fields(stream: io.StringIO) -> None:
    logging.getLogger("gateway.test").info("call refused", extra={"reason": "no ports free"})
    (line,) = lines(stream)
    assert line.pop("at")
    expected = {"level": "info", "logger": "gateway.test", "event": "call refused", "reason": "no ports free"}
    assert line == expected


def test_call_and_tenant_come_from_the_context_of_whoever_logs(stream: io.StringIO) -> None:
    log = logging.getLogger("gateway.test")

    async def work() -> None:
        await asyncio.sleep(0)
        log.info("inner")

    async def calls() -> None:
        with logs.about(tenant="t1"), logs.about(call="c1"):
            task = asyncio.create_task(work())
        with logs.about(call="c2"):
            log.info("other", extra={"call": "c3"})
        log.info("outside")
        await task

    asyncio.run(calls())
    found = {line["event"]: (line.get("call"), line.get("tenant")) for line in lines(stream)}
    assert found == {"other": ("c3", None), "outside": (None, None), "inner": ("c1", "t1")}


def test_an_event_that_floods_is_counted_and_summarised(stream: io.StringIO, clock: Clock) -> None:
    log = logging.getLogger("gateway.test")
    for _ in range(5000):
        log.warning("call refused", extra={"reason": "no ports free"})
    log.warning("call refused", extra={"reason": "spool full"})
    assert len(lines(stream)) == BURST + 1
    clock.now = WINDOW_S
    log.warning("call refused", extra={"reason": "no ports free"})
    *_, summary, again = lines(stream)
    assert (summary["event"], summary["repeated"], summary["times"]) == ("event repeated", "call refused", 5000 - BURST)
    assert (summary["reason"], summary["level"], summary["logger"]) == ("no ports free", "warning", "gateway.test")
    assert again["event"] == "call refused"


def test_the_summary_of_a_flood_that_stopped_is_told_at_the_end(stream: io.StringIO, clock: Clock) -> None:
    handler = logging.getLogger("gateway.test").handlers[0]
    for _ in range(BURST + 3):
        logging.getLogger("gateway.test").info("something")
    handler.close()
    assert lines(stream)[-1]["times"] == 3


def test_the_number_of_events_that_are_counted_is_bounded() -> None:
    repeats = Repeats(burst=1)
    for number in range(3 * EVENTS_MAX):
        repeats.admit("x", 20, f"event {number}", "", 0.0)
        assert repeats.admit("x", 20, f"event {number}", "", 0.0) is False
        repeats.over(0.0)
    assert len(repeats.over(WINDOW_S)) == EVENTS_MAX


def test_no_secret_reaches_a_line_by_any_way(stream: io.StringIO) -> None:
    log, library = logging.getLogger("gateway.test"), logging.getLogger("somebody.else")
    try:
        raise ValueError(f"cannot read {SECRET}")
    except ValueError:
        log.exception("it failed")
        library.error("Task exception was never retrieved\nfuture: <Task exception=%r>", SECRET, exc_info=True)
    library.warning("connection from %s", SECRET)
    library.warning(ValueError(SECRET))
    library.error("Fatal error\nprotocol: " + SECRET)
    log.info("with an object", extra={"thing": ValueError(SECRET)})
    assert len(lines(stream)) == 6
    assert SECRET not in stream.getvalue()
    assert lines(stream)[0]["error"] == "ValueError"
    assert str(lines(stream)[0]["where"]).startswith("tests.gateway.operations.test_logs:")


def test_not_even_an_exception_that_nobody_caught_prints_its_message() -> None:
    code = f"""
import asyncio, threading, warnings
from gateway.operations import logs
logs.start()
def fail(): raise ValueError("{SECRET}")
thread = threading.Thread(target=fail)
thread.start(); thread.join()
class Dying:
    def __del__(self): fail()
Dying()
async def main(): asyncio.create_task(failing()); await asyncio.sleep(0.01)
async def failing(): fail()
asyncio.run(main())
fail()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert SECRET not in done.stderr
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["error"] for line in told] == ["ValueError"] * 4


def test_every_log_call_of_ours_has_constant_text_and_harmless_fields() -> None:
    seen = 0
    for folder in logs.OURS[:-1]:
        for path in (ROOT / folder).rglob("*.py"):
            for call in _log_calls(ast.parse(path.read_text())):
                where = f"{path.relative_to(ROOT)}:{call.lineno}"
                seen += 1
                assert len(call.args) == 1, f"{where}: constant text, and values as fields"
                assert isinstance(call.args[0], ast.Constant), f"{where}: constant text"
                assert not FORBIDDEN & set(_fields(call)), f"{where}: a field that may hold personal data or a key"
    assert seen > 30


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            of = node.func.value
            if isinstance(of, ast.Name) and of.id in ("log", "_log", "logger"):
                yield node


def _fields(call: ast.Call) -> Iterator[str]:
    for keyword in call.keywords:
        for node in ast.walk(keyword.value) if keyword.arg == "extra" else ():
            if isinstance(node, ast.Dict):
                yield from (
                    key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                )
