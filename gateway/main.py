"""`callvault serve`: every part started in order, supervised, drained and stopped in order."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from gateway import logs
from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.api.server import ApiServer
from gateway.callbook import CallBook
from gateway.child import protect_memory
from gateway.config import Loaded, Settings, Tenant, from_environment, parse_address
from gateway.errors import ConfigError, Unavailable
from gateway.events import Hub, LiveEvent
from gateway.ingest.sip import RECEIVE_BUFFER_BYTES, SipUdp
from gateway.media_link import MediaLink
from gateway.recovery import recover_all
from gateway.supervisor import BACKOFF_S, Child
from gateway.switchboard import Switchboard
from gateway.tenants import Directory
from media.ports import PortPool
from storage.checks import problems
from storage.model import CallId, TenantId
from storage.recordings import Recordings
from transcription.queue import Queue, QueueAddress, Relay
from transcription.queue_server import QueueServer

log = logging.getLogger(__name__)

PREPARE_EVERY_S = 3600.0  # bucket keys reach 48 h ahead; an hour's delay is nothing to that
WIND_DOWN_S = 15.0  # after the drain limit: BYE, the last commit, the call's record


def command(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Exit 2, with every problem, when the configuration cannot be used."""
    try:
        loaded = from_environment(arguments.config, {"data": arguments.data})
        check(loaded)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"callvault: {problem}\n")
        return 2
    logs.start()
    asyncio.run(Server(loaded.settings).run())
    return 0


def check(loaded: Loaded) -> None:
    """Find everything that would keep `serve` from working: store, keyring, addresses. Raises ConfigError with all."""
    settings = loaded.settings
    found = problems(settings.data_folder, settings.keys_url, settings.objects_url)
    for name, listen, kind in (
        ("sip.listen", settings.sip.listen, socket.SOCK_DGRAM),
        ("http.listen", settings.http.listen, socket.SOCK_STREAM),
        ("media.address", f"{settings.media.address}:0", socket.SOCK_DGRAM),
    ):
        try:
            _bound(parse_address(listen), kind).close()
        except OSError as error:
            found.append(f"{name}: {listen} cannot be used: {error.strerror}")
    if found:
        raise ConfigError(found)


class Server:
    """One running callvault. `started` is called with the API's URL once calls are taken."""

    def __init__(self, settings: Settings, started: Callable[[str], None] | None = None) -> None:
        self._settings = settings
        self._started = started or _announce
        self._stop = asyncio.Event()
        self._hub = Hub()
        self._queue_up = False
        self._drained = False

    async def run(self) -> None:
        """Start everything, serve until told to stop, then end in order."""
        protect_memory()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # four sockets a two-track call
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        settings = self._settings
        recordings = await asyncio.to_thread(
            Recordings.open, settings.data_folder, settings.keys_url, settings.objects_url, node="gateway"
        )
        try:
            await self._recover(recordings)
            async with AsyncExitStack() as stack:
                await self._serve(recordings, stack)
        finally:
            await asyncio.to_thread(recordings.close)

    def stop(self) -> None:
        """Drain and end, as SIGTERM does."""
        self._stop.set()

    async def _recover(self, recordings: Recordings) -> None:
        erased = await asyncio.to_thread(recordings.resume_erasures)
        recovered = await asyncio.to_thread(recover_all, recordings)
        if erased or recovered:
            log.info("finished what was left open", extra={"erasures": erased, "calls": recovered})
        for tenant in self._settings.tenants:
            await asyncio.to_thread(_prepare, recordings, tenant)

    async def _serve(self, recordings: Recordings, stack: AsyncExitStack) -> None:
        """Services are entered in order and left in the opposite one."""
        settings = self._settings
        settings_json = settings.model_dump_json()
        address = await stack.enter_async_context(self._queue())
        await stack.enter_async_context(self._running(self._relay(recordings, address)))
        if settings.transcription.workers:
            for number in range(settings.transcription.workers):
                worker = Child(f"transcription-{number}", "gateway.worker_process", settings_json)
                await stack.enter_async_context(self._running(worker.run()))
        uploader = Child("uploader", "gateway.uploader_process", settings_json, on_line=self._on_uploaded)
        await stack.enter_async_context(self._running(uploader.run()))
        calls = await stack.enter_async_context(asyncio.TaskGroup())
        book = CallBook(recordings)
        await stack.enter_async_context(self._running(book.run()))
        await stack.enter_async_context(self._running(self._prepare_hourly(recordings)))
        ports = PortPool(settings.media.address, settings.media.port_first, settings.media.port_last)
        board = Switchboard(recordings, book, ports, self._hub, calls)
        media = await stack.enter_async_context(self._media(settings_json, board, calls))
        sip, sip_address = await self._sip(board, stack)
        context = Context(
            recordings,
            recordings.tokens,
            self._hub,
            board.end_by_id,
            lambda: self._missing(board, media),
            lambda: dict(board.counters + book.counters + sip.counters),
        )
        api = ApiServer(create_app(context), parse_address(settings.http.listen))
        await stack.enter_async_context(self._running(api.serve()))
        stack.callback(lambda: setattr(api, "should_exit", True))
        await api.ready()
        host = parse_address(settings.http.listen)[0]
        log.info("serving", extra={"sip": sip_address[1], "http": api.port, "media": media().pid})
        self._started(f"http://{f'[{host}]' if ':' in host else host}:{api.port}")
        await self._stop.wait()
        await self._drain(sip, board)

    async def _sip(self, board: Switchboard, stack: AsyncExitStack) -> tuple[SipUdp, tuple[str, int]]:
        sock = _bound(parse_address(self._settings.sip.listen), socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        bound = sock.getsockname()[:2]
        protocol = SipUdp(self._settings, bound, Directory(self._settings), board)
        protocol.warm_up()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
        stack.callback(transport.close)
        return protocol, bound

    @asynccontextmanager
    async def _queue(self) -> AsyncIterator[QueueAddress]:
        if self._settings.queue.url != "embedded":
            yield QueueAddress(self._settings.queue.url, "")
            return
        server = QueueServer(self._settings.data_folder / "queue")
        address = await server.start()
        try:
            async with self._running(_keep(server)):
                yield address
        finally:
            await server.stop()

    @asynccontextmanager
    async def _media(
        self, settings_json: str, board: Switchboard, tasks: asyncio.TaskGroup
    ) -> AsyncIterator[Callable[[], MediaLink]]:
        """The media worker, started again when it dies; yields the way to the present one."""

        def lost() -> None:
            board.on_media_lost()
            if not self._drained:
                tasks.create_task(restart())

        async def restart() -> None:
            for pause_s in (*BACKOFF_S, *[BACKOFF_S[-1]] * 1000):
                await asyncio.sleep(pause_s)
                board.media = MediaLink(settings_json, board.on_media, lost)
                with contextlib.suppress(Unavailable):
                    await board.media.start()
                    return

        board.media = MediaLink(settings_json, board.on_media, lost)
        await board.media.start()

        def present() -> MediaLink:
            assert board.media is not None
            return board.media

        try:
            yield present
        finally:
            self._drained = True
            await present().stop()

    async def _drain(self, sip: SipUdp, board: Switchboard) -> None:
        log.info("draining", extra={"calls": board.live})
        sip.drain()
        await board.settled(self._settings.sip.drain_s)
        sip.hang_up_all()
        await board.settled(WIND_DOWN_S)
        log.info("drained", extra={"left": board.live})

    async def _relay(self, recordings: Recordings, address: QueueAddress) -> None:
        async with await Queue.connect(address) as queue:
            self._queue_up = True
            await Relay(recordings, queue).run()

    async def _prepare_hourly(self, recordings: Recordings) -> None:
        while True:
            await asyncio.sleep(PREPARE_EVERY_S)
            for tenant in self._settings.tenants:
                await asyncio.to_thread(_prepare, recordings, tenant)

    def _on_uploaded(self, line: dict[str, object]) -> None:
        stored = line.get("stored")
        if isinstance(stored, list):
            for tenant, call in stored:
                self._hub.publish(LiveEvent("call_stored", TenantId(tenant), CallId(call)))

    def _missing(self, board: Switchboard, media: Callable[[], MediaLink]) -> list[str]:
        missing = [] if media().alive else ["media worker"]
        if not self._queue_up:
            missing.append("queue")
        if board.draining:
            missing.append("draining")
        return missing

    @asynccontextmanager
    async def _running(self, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
        """A service task for as long as the context lasts; its failure ends the server with a log line."""
        task = asyncio.create_task(work)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and done.exception() is not None:
                log.error("a service failed, stopping", exc_info=done.exception())
                self._stop.set()

        task.add_done_callback(ended)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _keep(server: QueueServer) -> None:
    """Start the queue server again whenever it ends."""
    while True:
        code = await server.wait()
        log.error("queue server ended, restarting", extra={"code": code})
        await asyncio.sleep(BACKOFF_S[0])
        await server.start()


def _prepare(recordings: Recordings, tenant: Tenant) -> None:
    recordings.prepare(recordings.tenant(tenant.name), [tenant.purpose])


def _bound(address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _announce(url: str) -> None:
    sys.stdout.write(f"callvault is ready: API at {url}\n")
    sys.stdout.flush()
