"""`callvault tenant rotate`: other keys at the provider for a tenant, beside a running server or without one."""

from __future__ import annotations

import argparse
import sys

from gateway.commands.store import administering
from gateway.config import Settings
from gateway.errors import ConfigError
from storage.recordings import Recordings


def rotate(arguments: argparse.Namespace) -> int:
    """Replace a tenant's keys. What was wrapped by the former ones opens with no copy from before any more."""

    def run(settings: Settings, recordings: Recordings) -> int:
        if arguments.name not in [tenant.name for tenant in settings.tenants]:
            raise ConfigError([f"tenant {arguments.name!r} is not in the configuration"])
        recordings.erasures.rotate(recordings.tenant(arguments.name))
        sys.stdout.write(f"the keys of {arguments.name} are replaced; take a new backup\n")
        return 0

    return administering(arguments, run)
