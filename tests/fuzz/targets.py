"""The table of targets, by name: a new parser of anybody's bytes gets a row."""

from __future__ import annotations

from typing import Any

from tests.fuzz.secure import SECURE
from tests.fuzz.signalling import SIGNALLING
from tests.fuzz.storing import STORING
from tests.fuzz.streams import STREAMS
from tests.fuzz.target import Target
from tests.fuzz.whip import WHIP

TARGETS: dict[str, Target[Any]] = {target.name: target for target in (*SIGNALLING, *STREAMS, *WHIP, *SECURE, *STORING)}
