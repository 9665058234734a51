"""Where the work queue is: the embedded server's own word for it, or the configuration's and a file of credentials."""

from __future__ import annotations

import tomllib
from collections.abc import Callable

from gateway.config import Settings
from transcription.errors import QueueUnavailable
from transcription.jetstream import QueueAddress

CREDENTIALS_BYTES_MAX = 4096
"""A token or a password, with room for comments."""

_KEYS = ({"token"}, {"user", "password"})


def queue_address(settings: Settings) -> Callable[[], QueueAddress]:
    """Finds the server anew at each call, so that a moved server or a changed password needs no restart.

    The function raises QueueUnavailable, with what would mend it.
    """
    if settings.queue.url == "embedded":
        return lambda: QueueAddress.read(settings.data_folder / "queue")
    return lambda: _external(settings)


def _external(settings: Settings) -> QueueAddress:
    queue = settings.queue
    ca_file = str(queue.ca_file.absolute()) if queue.ca_file else ""
    return QueueAddress(queue.url, ca_file=ca_file, **_credentials(settings))


def _credentials(settings: Settings) -> dict[str, str]:
    path = settings.queue.credentials
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            if path.stat().st_mode & 0o077:
                raise QueueUnavailable(f"{path} can be read by others: chmod 600 it")
            found = tomllib.loads(file.read(CREDENTIALS_BYTES_MAX).decode())
    except OSError as error:
        raise QueueUnavailable(f"{path}: {error.strerror}") from error
    except ValueError:  # the parser's message may quote the line, and with it the secret
        raise QueueUnavailable(f"{path} is not TOML") from None
    if found.keys() not in _KEYS or not all(isinstance(value, str) for value in found.values()):
        raise QueueUnavailable(f"{path}: give `token`, or `user` and `password`, as strings")
    return found
