"""What a service manager hears, over a real socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.operations.notify import Notifier

HEAR_S = 20.0


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(HEAR_S)
        yield sock


def heard(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_each_turn_of_a_programs_life_is_told(manager: socket.socket) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("serving")
    assert heard(manager) == {"READY": "1", "STATUS": "serving"}
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    told = heard(manager)
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    notifier.ready()
    assert heard(manager) == {"READY": "1"}
    notifier.stopping("draining", extend_s=1.5)
    assert heard(manager) == {"STOPPING": "1", "STATUS": "draining", "EXTEND_TIMEOUT_USEC": "1500000"}


def test_an_abstract_socket_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # a name of the kernel's choice
        manager.settimeout(HEAR_S)
        name = manager.getsockname().decode()
        Notifier.from_environment({"NOTIFY_SOCKET": "@" + name.lstrip("\0")}).alive()
        assert heard(manager) == {"WATCHDOG": "1"}


def test_the_watchdog_hears_a_beat_as_long_as_the_loop_turns(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "17"}
    notifier = Notifier.from_environment(environ, pid=17)

    async def run() -> None:
        task = asyncio.create_task(notifier.beat())
        for _ in range(3):
            assert await asyncio.to_thread(heard, manager) == {"WATCHDOG": "1"}
        task.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("usec", ["", "0", "x", "-5"])
def test_without_a_watchdog_there_is_no_beat(manager: socket.socket, usec: str) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": usec}
    asyncio.run(Notifier.from_environment(environ).beat())


def test_another_process_watchdog_is_not_ours(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(environ, pid=17).watchdog_s is None


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nothing_is_told(environ: dict[str, str]) -> None:
    Notifier.from_environment(environ).ready()


def test_a_manager_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    Notifier(str(tmp_path / "gone")).ready()
