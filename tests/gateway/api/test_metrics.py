"""Who may read the figures, and that they name no tenant and no call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.calls.admission import SPOOL_MS_MAX
from gateway.events import Hub
from gateway.operations.alarms import Alarm
from gateway.operations.metrics import CONTENT_TYPE
from gateway.operations.status import Parts, Status
from media.messages import Stats
from storage.model import CallId
from storage.recordings import Recordings
from storage.tokens import Role
from tests.gateway.store import opened, recorded

PATHS = ("/metrics", "/health/counters")
MIB = 1 << 20


class World:
    """A store with one call, a status over it whose quick figures are set by hand, and the API on top."""

    def __init__(self, recordings: Recordings, call: CallId) -> None:
        self.recordings, self.call = recordings, call
        self.stats: Stats | None = None
        self.media_alive = self.queue_up = True
        self.spare_missing = False
        self.registrations = {"registered": 2}
        self.networks = ["127.0.0.0/8", "192.0.2.0/28"]
        parts = Parts(
            counters=lambda: {"calls_answered": 1},
            calls=lambda: 0,
            stats=lambda: self.stats,
            media_complete=lambda: self.media_alive,
            media_workers=lambda: {"taking_calls": 2, "standing_by": 1},
            media_spare_missing=lambda: self.spare_missing,
            registrations=lambda: self.registrations,
            restarts=dict,
            queue_up=lambda: self.queue_up,
        )
        self.status = Status(recordings, 64 * MIB, parts)
        self.app = create_app(
            Context(
                recordings,
                recordings.tokens,
                Hub(),
                lambda call: None,
                list,
                lambda: {"calls_answered": 1},
                self.status.render,
                self.status.alarms.standing,
                lambda: self.networks,
                lambda tenant: "Europe/Amsterdam",
            )
        )

    def client(self, address: str = "127.0.0.1") -> TestClient:
        return TestClient(self.app, client=(address, 50000))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recordings, CallId]]:
    """A store with one call in it; nothing here changes it."""
    folder = tmp_path_factory.mktemp("store")
    with opened(folder) as recordings:
        call, _ = recorded(folder, recordings, recordings.tenant("acme"), 1.0)
        yield recordings, call


@pytest.fixture
def world(stored: tuple[Recordings, CallId]) -> World:
    return World(*stored)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.5", "::ffff:127.0.0.1"])
def test_monitoring_networks_read_the_figures_without_a_token(world: World, path: str, address: str) -> None:
    assert world.client(address).get(path).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("address", ["192.0.2.16", "203.0.113.9", "::1", "testclient", ""])
def test_nobody_else_does(world: World, path: str, address: str) -> None:
    answer = world.client(address).get(path)
    assert answer.status_code == 403
    assert "callvault_" not in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_a_request_through_a_proxy_is_nobodys(world: World, header: str) -> None:
    assert world.client().get("/metrics", headers={header: "127.0.0.1"}).status_code == 403


def test_the_figures_are_there_and_tell_of_no_call(world: World) -> None:
    with world.client() as client:
        client.portal.call(world.status.look)  # type: ignore[union-attr]  # the client is entered
        answer = client.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    for expected in ("callvault_call_setup_seconds_bucket", 'callvault_events_total{event="calls_answered"} 1.0'):
        assert expected in answer.text
    for expected in ("callvault_spool_bytes ", "callvault_queue_jobs_dead 0.0", 'operation="wrap"'):
        assert expected in answer.text
    for secret in (world.call, world.recordings.tenant("acme"), "acme"):
        assert secret not in answer.text


def test_alarms_are_told_by_readiness_and_metrics(world: World) -> None:
    with world.client() as client:
        assert client.get("/health/ready").json() == {"status": "ready", "missing": [], "alarms": []}
        world.status.hear({"store": "away", "since_s": 1.0}, 0.0)
        ready = client.get("/health/ready")
        assert ready.status_code == 200, "calls go on while the store is away"
        assert ready.json()["alarms"] == ["store_away"]
        assert 'callvault_alarm{alarm="store_away"} 1.0' in client.get("/metrics").text
        world.status.hear({"store": "back", "after_s": 5.0}, 5.0)
        assert client.get("/health/ready").json()["alarms"] == []


def test_a_look_raises_what_is_wrong_and_ends_what_is_not(world: World) -> None:
    late = Stats(1.0, 2.0, 0, 0, SPOOL_MS_MAX + 1, 0.0, 0, True)
    well = Stats(1.0, 2.0, 0, 0, 0.0, 0.0, 0, False)
    alarms = world.status.alarms
    with world.client() as client:
        portal = client.portal
        assert portal is not None
        world.stats, world.media_alive, world.queue_up, world.spare_missing = late, False, False, True
        portal.call(world.status.look)
        expected = {Alarm.MEDIA_LOST, Alarm.QUEUE_AWAY, Alarm.SPOOL_FULL, Alarm.SPOOL_BEHIND}
        world.registrations = {"registered": 1, "failed": 1}
        portal.call(world.status.look)
        expected |= {Alarm.MEDIA_SPARE_MISSING, Alarm.REGISTRATION_LOST}
        assert all(alarm in alarms for alarm in expected)
        world.stats, world.media_alive, world.queue_up, world.spare_missing = well, True, True, False
        world.registrations = {"registered": 2}
        portal.call(world.status.look)
        assert not any(alarm in alarms for alarm in expected)


def test_uploads_are_the_figures_that_the_uploader_printed(world: World) -> None:
    world.status.hear({"stored": []}, 0.0)
    world.status.hear({"uploads": {"count": 3, "failed": 1, "size": 9, "seconds": 0.5, "oldest_s": 2.0}}, 0.0)
    uploads = world.status.snapshot().uploads
    assert (uploads.count, uploads.failed, uploads.size, uploads.seconds, uploads.oldest_s) == (3, 1, 9, 0.5, 2.0)


def test_the_list_of_calls_names_the_tenants_zone(world: World) -> None:
    token = world.recordings.tokens.create(world.recordings.tenant("acme"), Role.AGENT, "test")
    answer = world.client().get("/v1/calls", headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["zone"] == "Europe/Amsterdam"
