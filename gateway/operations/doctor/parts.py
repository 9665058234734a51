"""What callvault is made of and connected to: store, keys, spool, queue, models."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.config import Settings
from gateway.operations.doctor.row import Row, State, graded
from gateway.operations.status import FILLING_SHARE, spool_size
from storage.checks import custody, problems
from storage.errors import StoreError
from storage.spoollock import has_uploader
from transcription.engines import open_engine
from transcription.errors import EngineUnavailable, ModelUnavailable, QueueUnavailable
from transcription.queue_server import binary
from transcription.redaction.rampart import OFF, open_names

CONNECT_S = 3.0  # to an external queue: longer than any network that is fit for one takes
QUEUE_PORT = 4222
_PARTS = ("data folder", "key provider", "object store", "catalogue", "witness")


def store(settings: Settings) -> Iterator[Row]:
    """Data folder, key provider, object store, catalogue and witness, as a start checks them."""
    where = (settings.data_folder, settings.keys_url, settings.objects_url)
    found = problems(*where, settings.store.catalogue, settings.tenant_keys, settings.witness_url)
    for name in _PARTS:
        told = [text for text in found if text.startswith(name)]
        if told:
            yield from (Row(name, State.FAIL, *_cut(text.removeprefix(name).lstrip(": "))) for text in told)
        elif name != "data folder" and (name != "catalogue" or settings.store.catalogue):
            yield Row(name, State.OK, "usable")
    for text in found:
        if not text.startswith(_PARTS):
            yield Row("store", State.FAIL, *_cut(text))


def keys(settings: Settings) -> Iterator[Row]:
    """Of each key provider: whether it can be reached, what brings destroyed keys back, whether keys come out."""
    providers = {"keys": settings.keys_url} | {f"keys of {name}": url for name, url in settings.tenant_keys.items()}
    for name, url in providers.items():
        try:
            found = custody(settings.data_folder, url)
        except StoreError as error:
            yield Row(name, State.FAIL, str(error), "correct the URL")
            continue
        if found.trouble:
            yield Row(name, State.FAIL, *_cut(found.trouble))
            continue
        told = "non-extractable" if found.non_extractable else "extractable: whoever reads its files has them"
        region = f", region {found.region}" if found.region else ""
        mend = "state how long its backups and snapshots keep destroyed keys: ?finality=30d; certificates say it"
        yield graded(
            name, f"reachable, finality {found.finality}, {told}{region}", mend, warn=found.finality == "unknown"
        )


def _cut(text: str) -> tuple[str, str]:
    """What is wrong, and how to mend it: our messages have a colon or semicolon between the two."""
    found, _, mend = text.rpartition(": ")
    return (found, mend) if found else (text, "see the message; the store must be there before callvault starts")


def spool(settings: Settings) -> Iterator[Row]:
    """How full the spool is, and whether somebody empties it."""
    folder, limit = settings.data_folder / "spool", settings.store.spool_limit_mib << 20
    size = spool_size(folder)
    emptied = "an uploader runs" if has_uploader(folder) else "no uploader runs"
    yield graded(
        "spool",
        f"{size >> 20} of {limit >> 20} MiB, {emptied}",
        "callvault spool shows what waits for what; calls are refused or unrecorded when it is full",
        fail=size >= limit,
        warn=size > FILLING_SHARE * limit,
    )


def queue(settings: Settings) -> Iterator[Row]:
    """The work queue's server: ours is installed, or the external one takes connections."""
    url = settings.queue.url
    if url == "embedded":
        try:
            binary()
        except QueueUnavailable as error:
            yield Row("queue", State.FAIL, *_cut(str(error)))
        else:
            yield Row("queue", State.OK, "embedded, installed")
        return
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or QUEUE_PORT), CONNECT_S).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield Row(
            "queue", State.WARN, f"does not answer: {reason}", "jobs wait in the outbox: start it, or mend queue.url"
        )
    else:
        yield Row("queue", State.OK, "takes connections")


def models(settings: Settings) -> Iterator[Row]:
    """Speech and names models: loaded, which checks every byte of packaged ones."""
    if not settings.transcription.workers:
        yield Row("speech model", State.OK, "not used: transcription.workers is 0")
        return
    try:
        name = open_engine(settings.transcription.model).name
    except EngineUnavailable as error:
        yield Row("speech model", State.FAIL, *_cut(str(error)))
    else:
        yield Row("speech model", State.OK, name)
    if settings.transcription.names_model == OFF:
        mend = "set transcription.names_model to package:rampart: rules alone find fewer names"
        yield Row("names model", State.WARN, "off", mend)
        return
    try:
        open_names(settings.transcription.names_model)
    except ModelUnavailable as error:
        yield Row("names model", State.WARN, *_cut(str(error)))
    else:
        yield Row("names model", State.OK, settings.transcription.names_model)
