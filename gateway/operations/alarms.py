"""What is wrong and stays wrong until somebody mends it: standing alarms, each told when it begins and when it ends."""

from __future__ import annotations

import logging
from enum import StrEnum

log = logging.getLogger(__name__)


class Alarm(StrEnum):
    """Everything that may stand; the text is part of metrics and of health."""

    STORE_AWAY = "store_away"
    SPOOL_FILLING = "spool_filling"
    SPOOL_FULL = "spool_full"
    SPOOL_BEHIND = "spool_behind"
    QUEUE_AWAY = "queue_away"
    JOBS_DEAD = "jobs_dead"
    CLOCK_UNSYNCHRONISED = "clock_unsynchronised"
    MEDIA_LOST = "media_lost"
    MEDIA_SPARE_MISSING = "media_spare_missing"
    REGISTRATION_LOST = "registration_lost"
    PEER_NAMES_AWAY = "peer_names_away"
    KEYS_AWAY = "keys_away"
    CALLS_HELD = "calls_held"
    HELD_MEMORY_FULL = "held_memory_full"
    CLOCKS_APART = "clocks_apart"
    CLOCK_JUMPED = "clock_jumped"
    CLOCK_WENT_BACK = "clock_went_back"
    CLOCK_UNSETTLED = "clock_unsettled"
    CLOCK_SILENT = "clock_silent"
    EXPIRY_OVERDUE = "expiry_overdue"
    CLOSED_CONFIGURED = "closed_configured"
    WITNESS_AWAY = "witness_away"
    SPEECH_MODEL_MISSING = "speech_model_missing"
    NAMES_MODEL_MISSING = "names_model_missing"
    REQUESTS_OVERDUE = "requests_overdue"
    BREACH_OVERDUE = "breach_overdue"
    DELETIONS_UNTOLD = "deletions_untold"


class Alarms:
    """The alarms that stand, since when. Time is an argument."""

    def __init__(self) -> None:
        self._since: dict[Alarm, float] = {}

    def set(self, alarm: Alarm, stands: bool, now: float) -> None:
        """An alarm stands or does not; only a change is told."""
        if stands and alarm not in self._since:
            self._since[alarm] = now
            log.warning("alarm raised", extra={"alarm": alarm.value})
        elif not stands and (since := self._since.pop(alarm, None)) is not None:
            log.warning("alarm over", extra={"alarm": alarm.value, "lasted_s": round(now - since, 3)})

    def standing(self) -> list[str]:
        """Their names, the oldest first."""
        return [alarm.value for alarm in self._since]

    def __contains__(self, alarm: Alarm) -> bool:
        return alarm in self._since
