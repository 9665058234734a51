"""The spool of a running server: shown, reconciled, and refused to a second server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.e2e.system import call_from, free_port, running, until
from tests.e2e.test_faults import in_background, live


def test_spool_is_shown_and_reconciled_beside_a_server_and_refused_to_a_second_one(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        client = system.client()
        results: list[object] = []
        caller = in_background(system, "undisturbed", 2.5, results)  # type: ignore[arg-type]  # looked at, not added to
        live(client, "undisturbed", [])
        environ = system.environ | {
            "CALLVAULT_SIP__LISTEN": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}",
            "CALLVAULT_HTTP__LISTEN": f"127.0.0.1:{free_port(socket.SOCK_STREAM)}",
        }
        shown = system.command("spool", "--json")
        assert shown.returncode == 0, shown.stderr
        report = json.loads(shown.stdout)
        assert report["writer"]
        assert report["uploader"]
        assert [file["written_to"] for file in report["files"]] == [True]
        caller.join(20)
        assert until(lambda: call_from(client, "undisturbed", "stored"))
        second = subprocess.run(
            [sys.executable, "-m", "gateway.cli", "serve"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode != 0
        audit = system.command("reconcile", "--hashes", "--settle", "1")
        assert audit.returncode == 0, audit.stdout
        assert "1 stored" in audit.stdout
        assert "nothing unexplained" in audit.stdout
