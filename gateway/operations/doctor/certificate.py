"""Our certificate for SIP over TLS: how long it is good for, and who can read its key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.config import Settings
from gateway.errors import ConfigError
from gateway.ingest.certificates import contexts, expiry
from gateway.operations.doctor.row import Row, State, graded

DAYS_LEFT_WARN = 21  # a renewal that failed for a week, with two to notice; ACME renews with thirty left


def certificate(settings: Settings) -> Iterator[Row]:
    """Whether it can be used, until when, and whether its key is our own."""
    tls = settings.sip.tls
    if not settings.sip.secure or tls.certificate is None or tls.key is None:
        yield Row("certificate", State.OK, "not used: nothing is listened on over TLS")
        return
    try:
        contexts(tls)
        left = expiry(tls.certificate) - datetime.now(UTC)
    except (ConfigError, OSError, ValueError) as error:
        yield Row("certificate", State.FAIL, str(error), "correct sip.tls, or have the certificate issued again")
        return
    yield graded(
        "certificate",
        f"expired {-left.days} days ago" if left.days < 0 else f"good for {left.days} days",
        "renew it, put the files in place, and reload (SIGHUP): new connections have it at once",
        fail=left.total_seconds() <= 0,
        warn=left.days < DAYS_LEFT_WARN,
    )
    mode = stat.S_IMODE(tls.key.stat().st_mode)
    others = mode & (stat.S_IRWXG | stat.S_IRWXO)
    found = f"{'can be read by others' if others else 'ours alone'} ({mode:04o})"
    yield graded("certificate key", found, f"chmod 0600 {tls.key}", fail=bool(others))
