"""A queue server that is somebody else's: TLS, credentials, and a stream that its operator made."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from nats.js.api import RetentionPolicy, StreamConfig

from storage.model import CallId, TenantId
from transcription.errors import QueueUnavailable
from transcription.jetstream import STREAM, SUBJECTS, Queue, QueueAddress
from transcription.jobs import Job
from transcription.queue_server import binary

LIMIT_S = 60.0
BODY = Job(TenantId("a" * 32), CallId("b" * 32)).to_json()

CONFIGURATION = """
listen: "127.0.0.1:-1"
ports_file_dir: "{folder}"
authorization {{ user: recorder, password: "secret" }}
tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key" }}
jetstream {{ store_dir: "{folder}/store" }}
"""


@dataclass(frozen=True, slots=True)
class External:
    """A running server of an operator of ours."""

    address: QueueAddress
    folder: Path


@contextmanager
def started(folder: Path) -> Iterator[External]:
    certify(folder)
    (folder / "nats.conf").write_text(CONFIGURATION.format(folder=folder))
    with subprocess.Popen(
        [str(binary()), "-c", str(folder / "nats.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            port = port_in(folder / f"nats-server_{server.pid}.ports")
            url = f"tls://127.0.0.1:{port}"
            yield External(
                QueueAddress(url, user="recorder", password="secret", ca_file=str(folder / "server.pem")), folder
            )
        finally:
            server.kill()


def port_in(ports: Path) -> int:
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        with suppress(OSError, ValueError, LookupError):
            return int(json.loads(ports.read_text())["nats"][0].rpartition(":")[2])
        time.sleep(0.02)
    raise AssertionError("the server does not come up")


def certify(folder: Path) -> None:
    """A key and a certificate that vouches for itself, for the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "queue")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[External]:
    with started(tmp_path_factory.mktemp("external")) as server:
        yield server


def test_jobs_go_over_tls_to_who_knows_the_password(external: External) -> None:
    async def scenario() -> None:
        async with await Queue.connect(external.address) as queue:
            await queue.publish("transcribe", BODY, "row 1")
            assert (await queue.state()).waiting == 1
            delivery = await (await queue.deliveries("transcribe", 30.0)).next(LIMIT_S)
            assert delivery is not None
            assert (delivery.body, delivery.number) == (BODY, 1)
            await delivery.done()
            assert (await queue.state()).waiting == 0

    asyncio.run(scenario())


def test_a_wrong_password_or_an_unknown_authority_is_refused(external: External) -> None:
    async def scenario() -> None:
        wrong = (
            (replace(external.address, password="guess"), "does not answer"),
            (replace(external.address, ca_file=""), "does not answer"),
            (replace(external.address, ca_file=str(external.folder / "nats.conf")), "holds no certificates"),
        )
        found = await asyncio.gather(*(Queue.connect(address) for address, _ in wrong), return_exceptions=True)
        for error, (_address, reason) in zip(found, wrong, strict=True):
            assert isinstance(error, QueueUnavailable)
            assert re.search(reason, str(error)), error

    asyncio.run(scenario())


def test_the_password_stays_out_of_sight(external: External) -> None:
    assert "secret" not in repr(external.address) + external.address.to_json()


def test_a_stream_that_its_operator_made_is_taken_and_one_that_keeps_jobs_is_not(tmp_path: Path) -> None:
    async def scenario(address: QueueAddress) -> None:
        client = await nats.connect(**address.options())
        stream = client.jetstream()
        theirs = StreamConfig(
            name=STREAM, subjects=[f"{SUBJECTS}.>"], retention=RetentionPolicy.WORK_QUEUE, duplicate_window=7200
        )
        await stream.add_stream(theirs)
        async with await Queue.connect(address) as queue:
            await queue.publish("transcribe", BODY, "row 1")
        assert (await stream.stream_info(STREAM)).config.duplicate_window == 7200
        await stream.delete_stream(STREAM)
        await stream.add_stream(replace_retention(theirs))
        with pytest.raises(QueueUnavailable, match="no stream"):
            await Queue.connect(address)
        await client.close()

    with started(tmp_path) as server:
        asyncio.run(scenario(server.address))


def replace_retention(config: StreamConfig) -> StreamConfig:
    return StreamConfig(name=config.name, subjects=config.subjects, retention=RetentionPolicy.LIMITS)
