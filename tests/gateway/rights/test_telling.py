"""Whoever got a copy of an erased call is told to delete it, until it is received; by real HTTP and HTTPS."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.commands.verifying import verify
from gateway.operations.alarms import Alarm, Alarms
from gateway.operations.metrics import Metrics, Snapshot
from gateway.outside import Destination
from gateway.posting import NoAnswer, post
from gateway.rights.telling import AGAIN_S_MAX, FIRST_AGAIN_S, OVERDUE_S, Telling
from storage.egress import Leaving
from storage.model import CallId, TenantId
from storage.notices import verify_notice
from storage.recordings import Recordings
from tests.gateway.ingest.authority import Authority
from tests.gateway.receiver import Receiver, receiving
from tests.storage.stores import ACTOR, GROUND, save_call

WHO = "Pietersen Advocaten"
NOW = 1_772_452_800.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("receiver", ip="127.0.0.1")


def crm(address: str, ca_file: Path | None = None) -> Destination:
    return Destination.model_validate(
        {"name": "crm", "to": WHO, "authorised_by": "board", "authorised_on": date(2026, 1, 1)}
        | {"parts": ["audio"], "address": address, "ca_file": ca_file}
    )


@dataclass
class Sender:
    store: Recordings
    tenant: TenantId
    destinations: Sequence[Destination] = ()

    def __post_init__(self) -> None:
        self.now, self.alarms = [NOW], Alarms()
        self.telling = Telling(self.store, lambda: {self.tenant: self.destinations}, self.alarms, lambda: self.now[0])

    def erased_copy(self, **about: str) -> CallId:
        """A copy of a call that is then erased."""
        new = save_call(self.store, self.tenant)
        leaving = Leaving(new.call, [artefact.ref.artefact for artefact in new.artefacts])
        (copy,) = self.store.egress.record(self.tenant, [leaving], {"to": WHO, "ground": "request", **about})
        self.store.erase_call(self.tenant, new.call, ground=GROUND, actor=ACTOR)
        return copy

    def look(self) -> None:
        asyncio.run(self.telling.look())

    def waiting(self) -> list[CallId]:
        return [copy.id for copy in self.store.egress.waiting(self.tenant)]


@pytest.fixture
def sender(store: Recordings, tenant: TenantId) -> Sender:
    store.prepare(tenant, ["recording"])
    return Sender(store, tenant)


@pytest.fixture
def plain() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def test_cl_06_a_signed_request_to_delete_is_sent_to_the_recipient_over_https(
    sender: Sender,
    authority: Authority,
    pair: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with receiving(pair) as receiver, caplog.at_level(logging.DEBUG):
        sender.destinations = [crm(f"https://127.0.0.1:{receiver.port}/deletions?from=us", authority.ca)]
        copy = sender.erased_copy(destination="crm")
        assert sender.waiting() == [copy]
        sender.look()
        sender.look()
    assert receiver.paths == ["/deletions?from=us"]  # once
    (body,) = receiver.bodies
    notice = verify_notice(body, sender.store.fingerprint())
    assert (notice["copy"], notice["to"]) == (copy, WHO)
    told = sender.store.egress.read(sender.tenant, copy)["told"]
    assert [row["by"] for row in told.values()] == ["sent"] and told.keys() == notice["calls"].keys()
    assert sender.waiting() == [] and sender.telling.counters == {"deletion_requests_sent": 1}
    assert WHO not in caplog.text and "127.0.0.1" not in caplog.text
    file = tmp_path / "notice.json"
    file.write_bytes(body)
    checked = argparse.Namespace(certificate=file, fingerprint=sender.store.fingerprint(), keys=None)
    assert verify(checked) == 0
    assert capsys.readouterr().out.endswith("verified\n")
    file.write_bytes(body.replace(b"Pietersen", b"Jansen"))
    assert verify(checked) == 1


def test_cl_06_it_is_tried_again_later_and_later_and_stands_as_an_alarm(sender: Sender, plain: Receiver) -> None:
    plain.statuses = [503, 302, 500, 204]  # a redirect is not followed
    sender.destinations = [crm(f"http://127.0.0.1:{plain.port}")]
    copy = sender.erased_copy(destination="crm")
    sender.look()
    sending = sender.store.egress.read(sender.tenant, copy)["sending"]
    assert (sending["attempts"], sending["outcome"]) == (1, "503")
    assert sending["next_s"] == NOW + FIRST_AGAIN_S
    sender.now[0] += FIRST_AGAIN_S - 1
    sender.look()
    assert len(plain.bodies) == 1
    sender.now[0] += 1
    again = Sender(sender.store, sender.tenant, sender.destinations)  # another process: how far it was is kept
    again.now = sender.now
    again.look()
    assert len(plain.bodies) == 2
    assert sender.store.egress.read(sender.tenant, copy)["sending"]["next_s"] == sender.now[0] + 2 * FIRST_AGAIN_S
    sender.now[0] += OVERDUE_S
    sender.look()
    text = Metrics().render(Snapshot(counters=sender.telling.counters, deletions=sender.telling.counts)).decode()
    assert 'callvault_deletion_requests{state="overdue"} 1.0' in text
    assert 'callvault_events_total{event="deletion_requests_failed"} 2.0' in text
    assert Alarm.DELETIONS_UNTOLD in sender.alarms
    sender.now[0] += AGAIN_S_MAX
    sender.look()
    assert plain.paths == ["/"] * 4
    assert "sending" not in sender.store.egress.read(sender.tenant, copy)
    assert Alarm.DELETIONS_UNTOLD not in sender.alarms and sender.waiting() == []


def test_cl_06_what_is_not_recorded_as_received_is_sent_again(
    sender: Sender, plain: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.destinations = [crm(f"http://127.0.0.1:{plain.port}/")]
    copy = sender.erased_copy(destination="crm")

    class Crash(BaseException):
        """Ends everything, as a kill does."""

    def die(*_arguments: object) -> None:
        raise Crash

    with monkeypatch.context() as patched, pytest.raises(BaseExceptionGroup):
        patched.setattr(sender.store.egress, "told", die)
        sender.look()
    assert sender.waiting() == [copy]
    Sender(sender.store, sender.tenant, sender.destinations).look()
    assert len(plain.bodies) == 2 and plain.bodies[0] == plain.bodies[1]
    assert sender.waiting() == []


def test_only_addresses_that_the_configuration_has_are_asked(sender: Sender, plain: Receiver) -> None:
    there = f"http://127.0.0.1:{plain.port}/"
    copies = [sender.erased_copy(), sender.erased_copy(address=there), sender.erased_copy(destination="other")]
    sender.look()
    sender.destinations = [crm("")]
    sender.look()
    assert plain.bodies == [] and set(sender.waiting()) == set(copies)
    assert sender.telling.counts == {"to_fetch": 3}
    sender.destinations = [crm(there)]  # the record has this very address
    sender.look()
    assert len(plain.bodies) == 1 and len(sender.waiting()) == 2


def test_a_receiver_whose_certificate_nobody_vouches_for_gets_nothing(sender: Sender, pair: tuple[Path, Path]) -> None:
    with receiving(pair) as receiver:
        sender.destinations = [crm(f"https://127.0.0.1:{receiver.port}/")]
        copy = sender.erased_copy(destination="crm")
        sender.look()
    assert receiver.bodies == []
    assert sender.store.egress.read(sender.tenant, copy)["sending"]["outcome"] == "SSLCertVerificationError"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "ValueError"),
        (b"SSH-2.0-x\r\n", "ValueError"),
        (b"HTTP/1.1 2000 OK\r\n", "ValueError"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, "ValueError"),
        (b"HTTP/1.1 200 " + b"x" * 100_000, "ValueError"),
        (b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 100_000, "LimitOverrunError"),
        (None, "TimeoutError"),
    ],
)
def test_every_answer_has_an_end(answer: bytes | None, reason: str) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            try:
                if answer is not None:
                    writer.write(answer)
                while answer is None and not writer.is_closing():  # a byte now and then, for ever
                    writer.write(b"H")
                    await asyncio.sleep(0.02)
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            with pytest.raises(NoAnswer, match=reason):
                await post(url, b"{}", limit_s=0.3 if answer is None else 10.0)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "address",
    [
        "ftp://a.example/",
        "http://a.example/",
        "https://",
        "https://u:p@a.example/",
        "https://a.example/#x",
        "https://a b/",
    ],
)
def test_an_address_is_https_or_of_this_machine(address: str) -> None:
    with pytest.raises(ValidationError):
        crm(address)
