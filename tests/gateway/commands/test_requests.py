"""`callvault requests` and `disclosures` against a real server: every step, and no half copy left behind."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn

from gateway.api.app import create_app
from gateway.api.context import Context
from gateway.cli import main
from gateway.client import ApiError, Client
from gateway.events import Hub
from gateway.rights.orders import OPERATOR
from storage.tokens import Role
from tests.gateway.rights.corpus import ALICE, Kept, session
from tests.gateway.store import opened

Run = Callable[..., str]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[Kept, Run]]:
    """A call, and the command line of an officer of its tenant, or of one of two operators."""
    with opened(tmp_path / "store") as recordings:
        tenant = recordings.tenant("acme")
        call = session(tmp_path / "store", recordings, tenant)
        app = create_app(
            Context(
                recordings, recordings.tokens, Hub(), lambda call: None, list, dict, tenants=lambda: {"acme": tenant}
            )
        )
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        officer = recordings.tokens.create(tenant, Role.OFFICER, "test")
        operators = [recordings.tokens.create(recordings.tenant(OPERATOR), Role.OPERATOR, "test") for _ in range(2)]
        tokens = [officer, *operators]

        def run(*arguments: str, code: int = 0, who: int = 0) -> str:
            out = io.StringIO()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sys.stdout", out)
                assert main([*arguments, "--url", url, "--token", tokens[who]]) == code
            return out.getvalue()

        yield call, run
        server.should_exit = True
        thread.join()


def test_up_17_a_request_goes_its_way_by_the_command_line(kept: tuple[Kept, Run], tmp_path: Path) -> None:
    call, run = kept
    day = datetime.now(UTC).date().isoformat()
    opening = ("requests", "open", "--right", "portability", "--received", day, "--subject", ALICE.name)
    request = json.loads(run(*opening))["id"]
    run("requests", "identify", request, "--how", "passport")
    found = json.loads(run("requests", "candidates", request, "--number", ALICE.number))["calls"][0]
    assert found["who"] == [call.id_of(ALICE)]
    run("requests", "match", request, "--match", f"{found['call']}/{found['who'][0]}")
    run("requests", "export", request, "--output", str(tmp_path / "copy.zip"), code=1)  # nothing is decided yet
    assert not list(tmp_path.glob("copy*"))
    run("requests", "decide", request, "--words", "original", "--reason", "own track")
    run("requests", "export", request, "--output", str(tmp_path / "copy.zip"))
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        assert archive.testzip() is None
    run("requests", "answer", request)
    assert "answered" in run("requests")
    assert json.loads(run("copies"))["copies"][0]["reference"] == request
    run("requests", "export", request, code=1)  # where to?


def test_sp_14_an_order_goes_its_way_by_the_command_line(kept: tuple[Kept, Run], tmp_path: Path) -> None:
    run = kept[1]
    until = datetime.now(UTC).date().isoformat()
    entering = ("disclosures", "enter", "--tenant", "acme", "--authority", "Politie", "--ground", "Art. 126n Sv")
    window = ("--first", "2026-03-01T00:00:00Z", "--last", "2026-03-02T00:00:00Z", "--until", until)
    what = ("--number", ALICE.number, "--part", "audio", "--part", "detail", "--gagged")
    order = json.loads(run(*entering, *window, *what, who=1))["id"]
    run("disclosures", "approve", order, who=1, code=1)
    run("disclosures", "approve", order, who=2)
    run("disclosures", "export", order, "--output", str(tmp_path / "copy.zip"), who=1)
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        assert [Path(name).name for name in archive.namelist()] == ["detail.json", "track-0.wav", "index.json"]
    assert "gagged" in run("disclosures", who=2)
    assert "calls         1" in run("disclosures", "--report", str(datetime.now(UTC).year), who=2)
    run("disclosures", code=1)  # an officer is not the operator
    assert json.loads(run("copies"))["copies"] == []


def test_a_download_that_breaks_off_is_an_error(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nPK..\r\n")

    thread = threading.Thread(target=answer)
    thread.start()
    client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", "token")
    with pytest.raises(ApiError, match="broke off after 4 bytes"), (tmp_path / "copy").open("wb") as file:
        client.download("/v1/requests/x/export", file)
    thread.join()
    listener.close()


def test_up_20_a_breach_goes_its_way_by_the_command_line(kept: tuple[Kept, Run], tmp_path: Path) -> None:
    run = kept[1]
    opening = ("breach", "open", "--what", "a disk was lost", "--reached", "backup", "--since", "2026-01-01T00:00:00Z")
    case = json.loads(run(*opening, who=1))["id"]
    assert "h left" in run("breach", who=1)
    run("breach", "describe", case, "--causes", "a bag was stolen", who=1)
    run("breach", "report", case, "--tenant", "acme", "--output", str(tmp_path / "report.md"), who=1)
    assert "a bag was stolen" in (tmp_path / "report.md").read_text()
    assert json.loads(run("breach", "report", case, "--format", "json", who=2))["totals"]["calls"] == 1
    run("breach", "notify", case, "--to", "AP", "--reference", "26-1", who=1)
    run("breach", "close", case, "--reason", "found again", who=1)
    assert "closed" in run("breach", who=1)
    run("breach", code=1)  # an officer is not the operator
