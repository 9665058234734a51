"""The queue's server: private, found again after a restart, and never two in one folder."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from transcription.errors import QueueUnavailable
from transcription.queue import Queue, QueueAddress
from transcription.queue_server import QueueServer

ORPHAN = """
import asyncio, os, signal, sys
from pathlib import Path
from transcription.queue_server import QueueServer

async def main():
    await QueueServer(Path(sys.argv[1])).start()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_server_starts_on_loopback_and_its_files_are_private(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = QueueServer(tmp_path / "queue")
        address = await server.start()
        try:
            assert address.url.startswith("nats://127.0.0.1:")
            assert address.token not in repr(address)
            assert QueueAddress.read(tmp_path / "queue") == address
            assert (tmp_path / "queue").stat().st_mode & 0o077 == 0
            for name in ("nats.conf", "address.json"):
                assert (tmp_path / "queue" / name).stat().st_mode & 0o077 == 0
        finally:
            await server.stop()
            await server.stop()

    asyncio.run(scenario())


def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = QueueServer(tmp_path)
        address = await server.start()
        try:
            with pytest.raises(QueueUnavailable):
                await Queue.connect(QueueAddress(address.url, "0" * 64))
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_a_killed_server_comes_back_at_the_same_address_with_its_jobs(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = QueueServer(tmp_path)
        address = await server.start()
        try:
            async with await Queue.connect(address) as queue:
                await queue.publish("transcribe", b"{}", "one")
                os.kill(int((tmp_path / "nats.pid").read_text()), signal.SIGKILL)
                assert await server.wait() == -signal.SIGKILL
                assert await server.start() == address
            async with await Queue.connect(address) as queue:
                assert (await queue.state()).waiting == 1
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_a_second_server_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = QueueServer(tmp_path)
        await server.start()
        try:
            with pytest.raises(QueueUnavailable, match="another process"):
                await QueueServer(tmp_path).start()
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_the_orphan_of_a_killed_parent_is_ended_before_the_next_start(tmp_path: Path) -> None:
    parent = subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path)], check=False, timeout=30)
    assert parent.returncode == -signal.SIGKILL
    orphan = int((tmp_path / "nats.pid").read_text())
    os.kill(orphan, 0)  # it lives

    async def scenario() -> None:
        server = QueueServer(tmp_path)
        address = await server.start()
        try:
            assert int((tmp_path / "nats.pid").read_text()) != orphan
            async with await Queue.connect(address):
                pass
        finally:
            await server.stop()

    asyncio.run(scenario())


def test_without_a_server_there_is_no_address(tmp_path: Path) -> None:
    with pytest.raises(QueueUnavailable):
        QueueAddress.read(tmp_path)
