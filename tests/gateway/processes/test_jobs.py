"""The queue as a service of the gateway: jobs leave the outbox, whatever happens to the server, and lines are heard."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.config import Settings
from gateway.events import Hub
from gateway.operations.alarms import Alarm, Alarms
from gateway.processes.jobs import Jobs
from storage.model import NO_PARTICIPANT, CallId, CallState, Kind, TenantId, new_id
from storage.recordings import Recordings
from storage.records import NewCall, Wanted

LIMIT_S = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"data": str(tmp_path / "data"), "transcription": {"workers": 0}})


@pytest.fixture
def store(settings: Settings) -> Iterator[Recordings]:
    with Recordings.open(settings.data_folder, settings.keys_url, settings.objects_url, node="test") as opened:
        yield opened


def ended_call(store: Recordings) -> NewCall:
    new = store.begin(store.tenant("default"), CallId(new_id()), [Wanted(NO_PARTICIPANT, Kind.CALL_DETAIL, "quality")])
    store.save([new])
    store.put_documents(new, {}, CallState.ENDED, jobs=["transcribe"])
    return new


def serving(settings: Settings, store: Recordings, scenario: Callable[[Jobs], Awaitable[None]]) -> None:
    """Runs the service for as long as the scenario does."""

    async def run() -> None:
        jobs = Jobs(settings, store, Hub(), Alarms())
        service = asyncio.create_task(jobs.run())
        try:
            await scenario(jobs)
            assert not service.done()
        finally:
            service.cancel()
            with suppress(asyncio.CancelledError):
                await service

    asyncio.run(run())


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0.02)


def test_jobs_go_to_the_queue_and_a_killed_server_is_started_again(settings: Settings, store: Recordings) -> None:
    async def scenario(jobs: Jobs) -> None:
        assert not jobs.up
        await until(lambda: jobs.up)
        server = int((settings.data_folder / "queue" / "nats.pid").read_text())
        ended_call(store)
        await until(lambda: store.jobs.waiting() == 0)
        os.kill(server, signal.SIGKILL)
        ended_call(store)
        await until(lambda: store.jobs.waiting() == 0 and jobs.held is not None and jobs.held.waiting == 2)

    serving(settings, store, scenario)


def test_a_server_that_cannot_start_is_tried_again_and_jobs_wait(
    settings: Settings, store: Recordings, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = settings.data_folder / "queue"
    in_the_way.write_text("a file where the folder should be")

    async def scenario(jobs: Jobs) -> None:
        ended_call(store)
        await until(lambda: "queue_server_does_not_start" in [entry.message for entry in caplog.records])
        assert (jobs.up, store.jobs.waiting()) == (False, 1)
        in_the_way.unlink()
        await until(lambda: store.jobs.waiting() == 0)

    with caplog.at_level(logging.WARNING):
        serving(settings, store, scenario)


def test_what_workers_tell_becomes_events_counters_and_alarms(settings: Settings, store: Recordings) -> None:
    hub, alarms = Hub(), Alarms()
    jobs = Jobs(settings, store, hub, alarms)
    tenant, call = TenantId(new_id()), CallId(new_id())
    with hub.subscribe(tenant) as events:
        jobs.hear_worker({"transcript_ready": [tenant, call]})
        _number, event = events.get_nowait()
        assert (event.name, event.fields()) == ("transcript_ready", {"call": call})
    jobs.hear_worker({"job_dead": [tenant, call], "reason": "Malformed"})
    jobs.hear_worker({"speech_model": "missing", "mend": "install it"})
    assert alarms.standing() == [Alarm.SPEECH_MODEL_MISSING]
    jobs.hear_worker({"names_model": "missing", "mend": "install it"})
    assert set(alarms.standing()) == {Alarm.SPEECH_MODEL_MISSING, Alarm.NAMES_MODEL_MISSING}
    jobs.hear_worker({"speech_model": "whisper"})
    assert alarms.standing() == [Alarm.NAMES_MODEL_MISSING]
    jobs.hear_worker({"names_model": "off"})
    jobs.hear_worker({"something": "else"})
    assert alarms.standing() == []
    assert jobs.models == {"speech_model": "whisper", "names_model": "off"}
    assert jobs.counters == {"transcripts": 1, "jobs_given_up": 1}


def test_the_command_lists_retries_and_drops(
    settings: Settings, store: Recordings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALLVAULT_DATA", str(settings.data_folder))
    calls = [ended_call(store) for _ in range(2)]
    store.outbox_sent([row.id for row in store.outbox_pending()])
    for new in calls:
        store.jobs.bury(new.tenant, new.call, "transcribe", "Unavailable", 20)
    assert main(["jobs"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("0 in the outbox, the queue does not answer, 2 given up\n")
    assert f"call {calls[0].call}  Unavailable after 20 deliveries" in listed
    assert main(["jobs", "retry"]) == 2
    assert main(["jobs", "retry", store.jobs.dead()[0].id]) == 0
    assert main(["jobs", "drop", "all"]) == 0
    assert main(["jobs", "drop", "0" * 32]) == 1
    capsys.readouterr()
    assert main(["jobs", "--json"]) == 0
    shown = capsys.readouterr().out
    assert '"outbox": 1' in shown
    assert '"dead": []' in shown
