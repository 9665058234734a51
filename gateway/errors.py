"""What can go wrong in the gateway, by whose fault it is.

GatewayError
├── ConfigError     the operator's settings; carries every problem found, not only the first
├── NotOpus         the track was not received in Opus, so it is not there as Ogg Opus
└── Unavailable     a part of ours is missing or gone: a worker, a port
"""

from collections.abc import Sequence


class GatewayError(Exception):
    """Any failure of the gateway."""


class ConfigError(GatewayError):
    """The configuration cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


class NotOpus(GatewayError):
    """The track was not received in Opus alone."""


class Unavailable(GatewayError):
    """A part of ours is missing or gone."""
