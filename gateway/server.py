"""The whole program in one place: every part started in order, supervised, drained and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from gateway.addresses import parse_address
from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.api.server import ApiServer
from gateway.calls.announcement import Announcements
from gateway.calls.callbook import CallBook
from gateway.calls.media_keeper import MediaKeeper
from gateway.calls.recovery import recover_all
from gateway.calls.switchboard import Switchboard
from gateway.calls.telemeter import Telemeter
from gateway.config import Loaded, Settings
from gateway.events import Hub, LiveEvent, event_of
from gateway.ingest.certificates import Contexts, contexts, refuse_expired
from gateway.ingest.peers import Peers
from gateway.ingest.registrars import Accounts, accounts
from gateway.ingest.sip import SipIngest
from gateway.ingest.whip import WhipIngest
from gateway.operations import logs
from gateway.operations.alarms import Alarm
from gateway.operations.key_care import KeyCare, prepare_keys, refuse_wrong
from gateway.operations.notify import Notifier
from gateway.operations.reload import Reloader
from gateway.operations.status import Parts, Status
from gateway.operations.store_care import look_after, say_remarks
from gateway.operations.sweeper import Sweeper
from gateway.outside import Destination
from gateway.places import visited
from gateway.policy import Tenant
from gateway.processes.guarding import protect_memory
from gateway.processes.jobs import Jobs
from gateway.processes.opening import open_recordings
from gateway.processes.supervisor import Child
from gateway.processors import announce, register
from gateway.promises.effective import policy_of
from gateway.promises.page import Facts
from gateway.promises.record import live_of
from gateway.rights.deadlines import promised
from gateway.rights.telling import Telling
from gateway.rights.watching import Watch
from gateway.statistics.publishing import keep_published
from gateway.tenants import Directory
from media.ports import PortPool
from storage.model import CallId, TenantId
from storage.processor import Notice, Processor
from storage.recordings import Recordings
from storage.spoollock import serving

log = logging.getLogger(__name__)

WIND_DOWN_S = 15.0  # after the drain limit: BYE, the last commit, the call's record
SWITCH_INTERVAL_S = 0.0005  # a store's thread that computes lets a caller's answer go first; Python's: 5 ms


class Server:
    """One running callvault. `load` reads the configuration again; `started` is called with the API's URL."""

    def __init__(self, settings: Settings, load: Callable[[], Loaded], started: Callable[[str], None]) -> None:
        self._settings = settings
        self._load = load
        self._started = started
        self._stop = asyncio.Event()
        self._hub = Hub()
        self._notifier = Notifier.from_environment(os.environ)
        self._queue_awaited = True
        self._tenants: dict[TenantId, Tenant] = {}
        self._announcements: Announcements | None = None  # read, and not yet in place
        self._news: list[tuple[TenantId, Notice]] = []  # durable already, and not yet told to who follows events
        self._contexts: Contexts | None = None
        self._accounts: Accounts = {}

    async def run(self) -> None:
        """Start everything, serve until told to stop, then end in order. Raises ConfigError, StoreError."""
        protect_memory()
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # four sockets a two-track call
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # what is being read is the newest
        settings = self._settings
        recordings = await asyncio.to_thread(partial(open_recordings, settings, node="gateway"))
        keys = KeyCare(recordings, lambda: self._settings)
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(serving(settings.data_folder))
                stack.enter_context(recordings.serving())
                await self._recover(recordings, keys)
                await self._serve(recordings, keys, stack)
        finally:
            await asyncio.to_thread(recordings.close)

    async def _recover(self, recordings: Recordings, keys: KeyCare) -> None:
        # First: are these the right providers?
        await asyncio.to_thread(self._prepare, recordings, keys, self._settings)
        self._tell()
        erased = await asyncio.to_thread(recordings.resume_erasures)
        recovered = await asyncio.to_thread(recover_all, recordings)
        if erased or recovered:
            log.info("finished what was left open", extra={"erasures": erased, "calls": recovered})

    async def _serve(self, recordings: Recordings, keys: KeyCare, stack: AsyncExitStack) -> None:
        """Services are entered in order and left in the opposite one."""
        settings, service = self._settings, self._service
        children: dict[str, Callable[[], int]] = {}
        status = Status(
            recordings,
            settings.store.spool_limit_mib << 20,
            Parts(
                counters=lambda: _together(board, book, sip, whip, jobs, watch, telling),
                calls=lambda: board.live,
                stats=lambda: board.stats,
                media_complete=lambda: media.complete,
                media_workers=lambda: media.states,
                media_spare_missing=lambda: media.spare_missing,
                registrations=lambda: sip.registrations.standings(time.monotonic()),
                restarts=lambda: {**jobs.restarts(), **{name: count() for name, count in children.items()}},
                queue_up=lambda: jobs.up,
                sweeping=lambda: sweeper.figures,
                requests=lambda: watch.counts,
                deletions=lambda: telling.counts,
                keys_ahead=lambda: keys.ahead(time.time()),
                held=lambda: board.keyless.held,
                breaches=lambda: watch.breaches,
            ),
        )
        jobs, telemeter = Jobs(settings, recordings, self._hub, status.alarms), Telemeter(recordings.telemetry)
        book = CallBook(recordings, on_quality=telemeter.hear)
        watch = Watch(recordings, lambda: list(self._tenants), status.alarms)
        telling = Telling(recordings, self._receivers, status.alarms)
        uploader = _uploader(settings, self._uploader_line(status))
        care = look_after(recordings, keys.prepare, status.alarms, away=bool(keys.since))
        publishing = keep_published(recordings, lambda: self._settings.tenants)
        remarks = asyncio.to_thread(say_remarks, settings.objects_url)  # seconds, where the store is away
        working = (jobs.run(), uploader.run(), book.run(), watch.run(), telling.run(), telemeter.run())
        for work in (*working, care, publishing, remarks):
            await stack.enter_async_context(service(work))
        calls = await stack.enter_async_context(asyncio.TaskGroup())
        ports = _ports(settings)
        board = Switchboard(recordings, book, ports, self._hub, calls)
        board.keyless.know(lambda: keys.since, settings.store.held_total_mib << 20)
        sweeper = Sweeper(
            recordings,
            status.alarms,
            lambda: list(self._tenants),
            partial(setattr, board, "closed"),
            board.end_of,
            telemetry_days=lambda of: self._tenants[of].telemetry_days if of in self._tenants else 0,
        )
        sip = SipIngest(settings, Directory(settings), board)
        sip.secure(self._contexts)
        whip = WhipIngest(settings, recordings, board, ports)
        board.hang_up, board.probe = _each(sip.hang_up, whip.hang_up), _each(sip.probe, whip.probe)
        media = MediaKeeper(settings, board, self._take_announcements())
        children |= {
            "uploader": lambda: uploader.restarts,
            "media": lambda: media.restarts,
            "webrtc": lambda: whip.restarts,
        }
        board.records.on_ready, sip.on_set_up, book.on_tracks = (
            status.metrics.ready,
            status.metrics.set_up,
            status.metrics.tracks,
        )
        await stack.enter_async_context(media.running())
        await stack.enter_async_context(whip.running())
        for watching in (status.watch(), sweeper.run()):
            await stack.enter_async_context(service(watching))
        peers = Peers(settings, sip, partial(status.alarms.set, Alarm.PEER_NAMES_AWAY))
        peers.apply(settings, self._accounts)
        await peers.look()
        sip.warm_up()
        address = await stack.enter_async_context(sip.listening())
        await stack.enter_async_context(service(peers.run()))
        peers.place()
        context = Context(
            recordings,
            recordings.tokens,
            self._hub,
            board.end_by_id,
            ready=lambda: self._missing(board, media, jobs),
            counters=lambda: _together(board, book, sip, whip, jobs, watch, telling),
            metrics=status.render,
            alarms=status.alarms.standing,
            monitors=lambda: self._settings.http.metrics_networks,
            zone=lambda tenant: self._tenants[tenant].zone if tenant in self._tenants else "UTC",
            facts=self._facts,
            whip=whip,
            pauses=board.pauses,
            deadlines=lambda tenant: promised(recordings.policy(tenant)),
            destinations=lambda tenant: self._tenants[tenant].destinations if tenant in self._tenants else (),
            released=watch.counters,
            live=lambda of: live_of(recordings, self._settings, self._tenants[of]) if of in self._tenants else None,
            processors=self._register,
            tenants=lambda: {policy.name: tenant for tenant, policy in self._tenants.items()},
        )
        api = ApiServer(create_app(context), parse_address(settings.http.listen))
        await stack.enter_async_context(service(api.serve()))
        stack.callback(partial(setattr, api, "should_exit", True))
        await api.ready()
        await stack.enter_async_context(service(self._reloader(recordings, keys, sip, whip, media, peers).run()))
        await stack.enter_async_context(service(self._notifier.beat()))
        log.info("serving", extra={"sip": address[1], "http": api.port, "media": settings.media.workers})
        _settle_down()
        self._started(_url(settings, api.port))
        self._notifier.ready("serving")
        await self._stop.wait()
        await self._drain(sip, whip, board)
        await peers.leave()

    def _reloader(
        self,
        recordings: Recordings,
        keys: KeyCare,
        sip: SipIngest,
        whip: WhipIngest,
        media: MediaKeeper,
        peers: Peers,
    ) -> Reloader:
        def apply(settings: Settings) -> None:
            self._tell()
            self._settings = whip.settings = settings
            peers.apply(settings, self._accounts)
            sip.secure(self._contexts)
            media.announce(self._take_announcements())
            logs.set_level(settings.log.level)

        def prepare(settings: Settings) -> None:
            if settings.sip.secure:
                refuse_expired(settings.sip.tls, datetime.now(UTC))
            self._prepare(recordings, keys, settings)

        reloader = Reloader(self._settings, self._load, prepare, apply, self._notifier)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.ask)
        return reloader

    def _prepare(self, recordings: Recordings, keys: KeyCare, settings: Settings) -> None:
        """What a configuration needs before calls come under it: what its files hold, and keys for two days."""
        certificates = contexts(settings.sip.tls) if settings.sip.secure else None
        known = accounts(settings)
        announcements = Announcements.load(settings)
        try:
            self._news += announce(recordings, settings)  # first of all: who gets data is told before any goes there
            self._news += _settle(recordings, settings)
            _adopt(recordings, settings)  # before keys are made, whose ends depend on it
            keys_away = prepare_keys(recordings, settings)
            refuse_wrong(keys_away)
            tenants = {recordings.tenant(tenant.name): tenant for tenant in settings.tenants}
        except BaseException:
            announcements.close()
            if self._tenants:  # a reload that is refused: what goes on is what was
                self._news += announce(recordings, self._settings)
            raise
        if self._announcements is not None:
            self._announcements.close()
        self._tenants = tenants
        self._announcements, self._contexts, self._accounts = announcements, certificates, known
        keys.note(keys_away)

    def _receivers(self) -> Mapping[TenantId, Sequence[Destination]]:
        return {tenant: found.destinations for tenant, found in self._tenants.items()}

    def _register(self, tenant: TenantId) -> Sequence[Processor]:
        found = self._tenants.get(tenant)
        return () if found is None else register(self._settings, found)

    def _facts(self, tenant: TenantId) -> Facts | None:
        found = self._tenants.get(tenant)
        return None if found is None else Facts.of(found, register(self._settings, found))

    def _tell(self) -> None:
        """To whoever follows events now; who does later is told then, and lists have all of it."""
        news, self._news = self._news, []
        for tenant, notice in news:
            self._hub.publish(event_of(tenant, notice))
            log.info("a notice to a tenant", extra={"tenant": tenant, "notice": notice.seq, "about": notice.event})

    def _take_announcements(self) -> Announcements:
        assert self._announcements is not None
        taken, self._announcements = self._announcements, None
        return taken

    async def _drain(self, sip: SipIngest, whip: WhipIngest, board: Switchboard) -> None:
        log.info("draining", extra={"calls": board.live})
        self._notifier.stopping("draining", self._settings.sip.drain_s + WIND_DOWN_S)
        sip.drain()
        await board.settled(self._settings.sip.drain_s)
        sip.hang_up_all()
        whip.hang_up_all()
        board.keyless.give_up()
        await board.settled(WIND_DOWN_S)
        log.info("drained", extra={"left": board.live})

    def _uploader_line(self, status: Status) -> Callable[[Mapping[str, object]], None]:
        def hear(line: Mapping[str, object]) -> None:
            status.hear(line, time.monotonic())
            stored = line.get("stored")
            for tenant, call in stored if isinstance(stored, list) else ():
                self._hub.publish(LiveEvent("call_stored", TenantId(tenant), CallId(call)))

        return hear

    def _missing(self, board: Switchboard, media: MediaKeeper, jobs: Jobs) -> list[str]:
        """What keeps calls from being taken; the queue only at first: later they go on without it, under an alarm."""
        self._queue_awaited = self._queue_awaited and not jobs.up
        missing = [] if media.alive else ["media worker"]
        return missing + ["queue"] * self._queue_awaited + ["draining"] * board.draining

    @asynccontextmanager
    async def _service(self, work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
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


def _url(settings: Settings, port: int) -> str:
    host = parse_address(settings.http.listen)[0]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _ports(settings: Settings) -> PortPool:
    media = settings.media
    return PortPool(media.address, media.port_first, media.port_last, address6=media.address6)


def _uploader(settings: Settings, on_line: Callable[[Mapping[str, object]], None]) -> Child:
    return Child("uploader", "gateway.processes.uploader", settings.model_dump_json(), on_line=on_line)


def _each(*takers: Callable[[CallId], None]) -> Callable[[CallId], None]:
    """Tells every way in: those that do not know the call do nothing."""

    def tell(call: CallId) -> None:
        for taker in takers:
            taker(call)

    return tell


class _Counting(Protocol):
    @property
    def counters(self) -> Counter[str]: ...


def _together(*parts: _Counting) -> dict[str, int]:
    """What all of them counted."""
    return dict(sum((part.counters for part in parts), Counter[str]()))


def _settle(recordings: Recordings, settings: Settings) -> list[tuple[TenantId, Notice]]:
    """Note where each tenant's data may be, and is going to be, before any of it comes; gives the moves, as notices."""
    moves = []
    for tenant in settings.tenants:
        of = recordings.tenant(tenant.name)
        new = recordings.residency.settle(of, tenant.regions, visited(tenant, recordings.residency.places))
        for place in new:
            told = {"tenant": of, "part": place.part.value, "region": place.region or "unknown"}
            log.info("a new location of a tenant's data", extra=told)
        if new:
            seqs = {location.seq for location in recordings.residency.locations(of)[-len(new) :]}
            moves += [(of, notice) for notice in recordings.register.notices(of) if notice.seq in seqs]
    return moves


def _adopt(recordings: Recordings, settings: Settings) -> None:
    recordings.mend_policies()  # first: what is adopted is compared with what was
    for tenant in settings.tenants:
        adopted = recordings.adopt(recordings.tenant(tenant.name), policy_of(tenant))
        if adopted.changed:
            counts = {"lowered": len(adopted.lowered), "raised": len(adopted.raised)}
            log.info("policy adopted", extra=counts | {"ended_earlier": adopted.ended_earlier})


def _settle_down() -> None:
    """What exists once everything runs lives as long as the process: no collection need look at it again."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
