"""The `callvault` command: its arguments, and which function carries each command out."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

from gateway.arguments import administering, asking, rights, serving

EPILOG = """\
exit status: 0 done, 1 the answer is no or the check failed, 2 the command or the configuration cannot be used
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    arguments = parser().parse_args(argv)
    module, _, function = arguments.run.partition(":")
    status: int = getattr(importlib.import_module(module), function)(arguments)
    return status


def parser() -> argparse.ArgumentParser:
    """The whole command line; `--help` of each command explains it."""
    top = argparse.ArgumentParser(
        prog="callvault",
        description="Real-time call recording, sealed per tenant; erased by destroying keys.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"callvault {version('callvault')}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    serving.server_commands(commands)
    asking.client_commands(commands)
    rights.rights_commands(commands)
    rights.operator_commands(commands)
    administering.admin_commands(commands)
    administering.policy_commands(commands)
    asking.keeping_commands(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
