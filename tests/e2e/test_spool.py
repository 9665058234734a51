"""The spool of a running server: shown, and reconciled with everything else."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.caller import CallResult
from tests.e2e.system import call_from, running, until
from tests.e2e.test_faults import in_background, live


def test_spool_is_shown_and_everything_reconciled_beside_a_running_server(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        client = system.client()
        results: list[CallResult | Exception] = []
        caller = in_background(system, "undisturbed", 2.5, results)
        live(client, "undisturbed", results)
        shown = system.command("spool", "--json")
        assert shown.returncode == 0, shown.stderr
        report = json.loads(shown.stdout)
        assert report["writer"]
        assert report["uploader"]
        assert {file["written_to"] for file in report["files"]} == {
            True
        }  # by the worker, and by the one that stands by
        caller.join(20)
        assert until(lambda: call_from(client, "undisturbed", "stored"))
        audit = system.command("reconcile", "--hashes", "--settle", "1")
        assert audit.returncode == 0, audit.stdout
        assert "1 stored" in audit.stdout
        assert "nothing unexplained" in audit.stdout
