"""WHIP sessions and the calls behind them: silence, announcements, and who ends what. The WebRTC worker is real."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.browsers import Browser
from gateway.calls.announcement import Prompt
from gateway.calls.call import Call
from gateway.config import Settings
from gateway.ingest.whip import Begun, NoSession, WhipIngest
from media.messages import Close, Open, Quiet, Update
from media.ports import PortPool
from storage.model import CallState, Kind, TenantId
from tests.gateway.calls.test_switchboard import Bench, bench

LIMIT_S = 20.0
PORTS = 20_000 + os.getpid() % 80 * 100


@dataclass
class Whip:
    """Sessions on a switchboard whose media worker only keeps its commands."""

    bench: Bench
    ingest: WhipIngest
    ports: PortPool

    @property
    def tenant(self) -> TenantId:
        return self.bench.recordings.tenant("default")

    async def begin(self, name: str = "") -> tuple[Browser, Begun]:
        browser = Browser()
        begun = await self.ingest.begin(self.tenant, browser.offer({0: "PCMU/8000"}), "127.0.0.1", name)
        assert await browser.connect(begun.answer) == "connected"
        return browser, begun

    def call(self, begun: Begun) -> Call:
        return self.bench.board._calls[begun.call]

    async def detail(self, begun: Begun) -> tuple[CallState, dict[str, object]]:
        await self.bench.board.settled(5)
        record = self.bench.recordings.call(self.tenant, begun.call)
        ref = record.find(Kind.CALL_DETAIL)[0].ref
        return record.state, json.loads(self.bench.recordings.document(self.tenant, ref.artefact))


@asynccontextmanager
async def whip(folder: Path) -> AsyncIterator[Whip]:
    async with bench(folder) as b:
        ports = PortPool("127.0.0.1", PORTS, PORTS + 3)  # of two sessions
        ingest = WhipIngest(Settings.model_validate({"whip": {"sessions_max": 4}}), b.recordings, b.board, ports)
        b.board.hang_up, b.board.probe = ingest.hang_up, ingest.probe
        async with ingest.running():
            yield Whip(b, ingest, ports)


def run(folder: Path, test: Callable[[Whip], Awaitable[None]]) -> None:
    async def within() -> None:
        async with whip(folder) as made:
            await test(made)

    asyncio.run(within())


async def closed(browser: Browser) -> None:
    async with asyncio.timeout(LIMIT_S):
        while browser.state != "closed":
            await asyncio.sleep(0.01)
    browser.vanish()


def test_a_session_whose_tracks_are_all_silent_for_too_long_is_ended(tmp_path: Path) -> None:
    async def test(w: Whip) -> None:
        (near, begun), (far, _) = await w.begin("conversation"), await w.begin("conversation")
        opened = [command for command in w.bench.worker.commands if isinstance(command, Open | Update)]
        assert {command.quiet_s for command in opened} == {300.0}
        first, second = w.call(begun).legs
        w.bench.board.on_media(Quiet(first.number, 0))
        assert near.state == "connected", "the other one may still speak"
        w.bench.board.on_media(Quiet(second.number, 0))
        await closed(near)
        await closed(far)
        state, detail = await w.detail(begun)
        assert (state, detail["why"]) == (CallState.NO_MEDIA, "nothing was sent")
        assert w.bench.board.counters["calls_probed"] == 1
        with pytest.raises(NoSession):
            w.ingest.end(w.tenant, begun.session)

    run(tmp_path, test)


def test_no_announcement_is_played_to_who_only_sends_and_recording_begins_at_once(tmp_path: Path) -> None:
    async def test(w: Whip) -> None:
        w.bench.board.prompts = {"default": Prompt("prompt", "en", 1000, -1)}
        browser, begun = await w.begin()
        assert "Play" not in w.bench.worker.kinds()
        [opened] = [command for command in w.bench.worker.commands if isinstance(command, Open)]
        assert (opened.announce, opened.hears, opened.tapped) == (False, False, True)
        assert opened.sink
        w.ingest.end(w.tenant, begun.session)
        await closed(browser)
        _, detail = await w.detail(begun)
        assert detail["announcement"] == {"by": "recording client"}, "it is the page's duty"

    run(tmp_path, test)


def test_a_session_is_deleted_once_by_its_tenant_and_its_port_is_free_again(tmp_path: Path) -> None:
    async def test(w: Whip) -> None:
        (near, first), (far, second) = await w.begin("conversation"), await w.begin("conversation")
        w.bench.recordings.prepare(other := w.bench.recordings.tenant("other"), ["quality"])
        for tenant, session in ((other, first.session), (w.tenant, "0" * 32)):
            with pytest.raises(NoSession):
                w.ingest.end(tenant, session)
        w.ingest.end(w.tenant, first.session)
        await closed(near)
        assert far.state == "connected"
        assert not [command for command in w.bench.worker.commands if isinstance(command, Close)]
        with pytest.raises(NoSession):
            w.ingest.end(w.tenant, first.session)
        w.ingest.end(w.tenant, second.session)
        await closed(far)
        state, detail = await w.detail(first)
        assert (state, detail["why"]) == (CallState.NO_MEDIA, "hung up")
        assert len([command for command in w.bench.worker.commands if isinstance(command, Close)]) == 2
        for pair in [w.ports.take(1e9), w.ports.take(1e9)]:
            pair.close()

    run(tmp_path, test)
