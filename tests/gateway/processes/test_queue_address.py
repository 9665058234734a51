"""Where the queue is: the embedded one by its own word, an external one by URL and a file that only we may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Settings, load
from gateway.errors import ConfigError
from gateway.processes.queue_address import queue_address
from transcription.errors import QueueUnavailable
from transcription.jetstream import QueueAddress

URL = "tls://queue.example:4222"


def settings_with(folder: Path, credentials: str | None = None, mode: int = 0o600) -> Settings:
    queue: dict[str, object] = {"url": URL}
    if credentials is not None:
        path = folder / "credentials.toml"
        path.write_text(credentials)
        path.chmod(mode)
        queue["credentials"] = str(path)
    ours = {"name": "ours", "own": True, "hosts": ["queue.example"]}
    return Settings.model_validate({"data": str(folder), "queue": queue, "processors": [ours]})


def test_the_embedded_server_is_where_it_says(tmp_path: Path) -> None:
    find = queue_address(Settings.model_validate({"data": str(tmp_path)}))
    with pytest.raises(QueueUnavailable, match="start it first"):
        find()
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "address.json").write_text(QueueAddress("nats://127.0.0.1:1", "t").to_json())
    assert find() == QueueAddress("nats://127.0.0.1:1", "t")


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        (None, QueueAddress(URL)),
        ('token = "secret"', QueueAddress(URL, "secret")),
        ('user = "recorder"\npassword = "secret"', QueueAddress(URL, user="recorder", password="secret")),
    ],
)
def test_an_external_server_is_where_the_settings_say(
    tmp_path: Path, credentials: str | None, expected: QueueAddress
) -> None:
    assert queue_address(settings_with(tmp_path, credentials))() == expected


@pytest.mark.parametrize(
    ("credentials", "mode", "complaint"),
    [
        ('token = "secret"', 0o640, "chmod 600"),
        ("secret", 0o600, "not TOML"),
        ('user = "secret"', 0o600, "give `token`"),
        ("token = 7", 0o600, "give `token`"),
        ('token = "secret"\nuser = "x"\npassword = "y"', 0o600, "give `token`"),
    ],
)
def test_credentials_that_cannot_be_used_say_why_and_not_what_they_are(
    tmp_path: Path, credentials: str, mode: int, complaint: str
) -> None:
    with pytest.raises(QueueUnavailable, match=complaint) as told:
        queue_address(settings_with(tmp_path, credentials, mode))()
    assert "secret" not in str(told.value)


def test_credentials_that_are_not_there_are_said(tmp_path: Path) -> None:
    settings = settings_with(tmp_path, "")
    (tmp_path / "credentials.toml").unlink()
    with pytest.raises(QueueUnavailable, match="No such file"):
        queue_address(settings)()


@pytest.mark.parametrize(
    "environ",
    [
        {"CALLVAULT_QUEUE__URL": "nats://user:password@queue.example"},
        {"CALLVAULT_QUEUE__URL": "http://queue.example"},
        {"CALLVAULT_QUEUE__CREDENTIALS": "/etc/queue.toml"},
        {"CALLVAULT_QUEUE__URL": "nats://queue.example", "CALLVAULT_QUEUE__CA_FILE": "/etc/ca.pem"},
    ],
)
def test_settings_that_contradict_themselves_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="queue"):
        load(None, environ)
