"""Commands on the store itself, whether a server runs or not: opened by the configuration, failures as exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from gateway.config import Settings, from_environment
from gateway.errors import ConfigError, GatewayError
from gateway.processes.opening import open_recordings
from storage.errors import StoreError
from storage.recordings import Recordings


def administering(arguments: argparse.Namespace, run: Callable[[Settings, Recordings], int], node: str = "cli") -> int:
    """The exit code of `run`; 2 when the configuration cannot be used, 1 when the store cannot."""
    try:
        settings = from_environment(arguments.config, {"data": arguments.data}).settings
        with open_recordings(settings, node=node) as recordings:
            return run(settings, recordings)
    except ConfigError as error:
        return complain(error)
    except (StoreError, GatewayError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1


def complain(error: ConfigError) -> int:
    """Say every problem of the configuration; the exit code."""
    sys.stderr.writelines(f"callvault: {problem}\n" for problem in error.problems)
    return 2
