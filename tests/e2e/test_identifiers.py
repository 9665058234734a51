"""Calls from wire to search: found by their headers and numbers, withheld numbers nowhere, 112 never refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.client import ApiError, Client
from tests.e2e.system import System, running, until

CALLER, WITHHELD, IN_DISTRESS = "+31201234567", "+31207654321", "+31209876543"
LOCAL, REMOTE = "ab30317f1a784dc48ff824d0d3715d86", "47755a9de7794ba387653f2099600ef2"
CONFIG = """
[sip]
calls_max = 1

[[tenants]]
name = "default"
emergency = ["112"]

[[trunks]]
name = "carrier"
tenant = "default"
sources = ["127.0.0.1/32"]
trusted = true
found_by = "X-Order"
"""
OFFER = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 41000 RTP/AVP 8\r\n"


class Phone:
    """One call, said in so many words, from a socket of its own."""

    def __init__(self, system: System, call: str, uri: str, headers: list[str]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(10)
        self._socket.connect(system.sip)
        self._call, self._uri, self._headers = call, uri, headers
        self.status, self._to = 0, f"<{uri}>"

    def __enter__(self) -> Phone:
        self._send("INVITE", 1, [*self._headers, "Content-Type: application/sdp"], OFFER)
        while self.status < 200:
            answer = self._socket.recv(65_535).decode()
            self.status = int(answer.split()[1])
        self._to = next(line for line in answer.split("\r\n") if line.startswith("To:")).partition(": ")[2]
        self._send("ACK", 1, [], "")
        return self

    def __exit__(self, *_error: object) -> None:
        if self.status == 200:
            self._send("BYE", 2, [], "")
            self._socket.recv(65_535)
        self._socket.close()

    def _send(self, method: str, seq: int, headers: list[str], body: str) -> None:
        host, port = self._socket.getsockname()
        caller = next((line for line in self._headers if line.startswith("From:")), f"From: <sip:{CALLER}@x>;tag=1")
        lines = [
            f"{method} {self._uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{self._call}{method}",
            caller,
            f"To: {self._to}",
            f"Call-ID: {self._call}",
            f"CSeq: {seq} {method}",
            f"Contact: <sip:{host}:{port}>",
            "Max-Forwards: 70",
            *(line for line in headers if not line.startswith("From:")),
            f"Content-Length: {len(body)}",
        ]
        self._socket.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("identifiers")
    config = folder / "callvault.toml"
    config.write_text(CONFIG)
    with running(folder, CALLVAULT_CONFIG=str(config)) as started:
        yield started


def find(client: Client, by: str, value: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/v1/calls/search", {"by": by, "value": value})["calls"]
    return found


def over(client: Client, by: str, value: str) -> dict[str, Any]:
    """The one call that is found so, once it is over."""

    def ask() -> dict[str, Any] | None:
        rows = find(client, by, value)
        assert len(rows) <= 1
        return rows[0] if rows and rows[0]["state"] != "live" else None

    return until(ask)


def test_a_call_is_found_by_what_its_headers_say_also_from_the_command_line(system: System) -> None:
    headers = [
        f"Session-ID: {LOCAL};remote={REMOTE}",
        "User-to-User: 00FA08000100014E4A5D6C;encoding=hex",
        "Cisco-Guid: 2926222401-3574924132-2153807665-0012345678",
        "X-Order: 4711",
    ]
    with Phone(system, "open-call", "sip:service@callvault.example", headers) as phone:
        assert phone.status == 200
    agent = system.client(role="agent")
    call = over(agent, "call_id", "open-call")["id"]
    wanted = {
        "session_id": [LOCAL, REMOTE.upper()],
        "ucid": ["00001000011313496428"],
        "guid": ["AE6A9C41-D515-0364-8060-7F3100BC614E"],
        "header": ["4711"],
        "number": [CALLER, "+31 20 123 45 67"],
        "uri": ["sip:service@callvault.example"],
    }
    for by, values in wanted.items():
        for value in values:
            assert [row["id"] for row in find(agent, by, value)] == [call], (by, value)
    for arguments, status in ((["--find", f"session_id:{LOCAL}"], 0), (["--find", "name:Bob"], 1)):
        url = f"http://127.0.0.1:{system.http}"
        shown = system.command("calls", *arguments, "--url", url, "--token", agent.token)
        assert shown.returncode == status
        assert (call in shown.stdout) is (status == 0)
        assert "Traceback" not in shown.stderr


def test_a_withheld_number_shows_nowhere_and_is_found_by_officers_only(system: System) -> None:
    agent, officer = system.client(role="agent"), system.client(role="officer")
    told: list[str] = []
    events = agent.events(timeout_s=30)

    def hear() -> None:
        for name, fields in events:
            told.append(json.dumps(fields))
            if name == "call_ended":
                return

    listening = threading.Thread(target=hear, daemon=True)
    listening.start()
    headers = [
        "From: Anonymous <sip:anonymous@anonymous.invalid>;tag=1",
        f'P-Asserted-Identity: "Wilma Withheld" <tel:{WITHHELD}>',
        "Privacy: id",
        f"X-Order: ani={WITHHELD}",
    ]
    with Phone(system, "private-call", "sip:service@callvault.example", headers) as phone:
        assert phone.status == 200
    call = over(agent, "call_id", "private-call")["id"]
    listening.join(30)
    assert told
    for by, value in (("number", WITHHELD), ("header", f"ani={WITHHELD}")):
        assert find(agent, by, value) == []
        assert [row["id"] for row in find(officer, by, value)] == [call]
    shown = [agent.get(path).decode() for path in ("/v1/calls", f"/v1/calls/{call}")] + told + [system.log()]
    shown += [json.dumps(find(officer, "number", WITHHELD))]
    for text in shown:
        assert WITHHELD[3:] not in text
        assert "Wilma" not in text
    assert json.loads(agent.get(f"/v1/calls/{call}"))["detail"]["private"] is True
    for path in system.folder.rglob("*"):
        assert WITHHELD[3:] not in path.name
        if path.is_file():
            assert WITHHELD[3:].encode() not in path.read_bytes(), path.name
    with pytest.raises(ApiError):
        agent.get(f"/v1/calls/{call}/identity")


@pytest.mark.parametrize("uri", ["sip:112@callvault.example", "urn:service:sos", "urn:service:sos.police"])
def test_an_emergency_call_is_taken_where_others_are_refused_and_not_recorded(system: System, uri: str) -> None:
    officer = system.client(role="officer")
    headers = [
        "From: <sip:anonymous@anonymous.invalid>;tag=1",
        f"P-Asserted-Identity: <tel:{IN_DISTRESS}>",
        "Privacy: id;critical",
    ]
    name = f"emergency-{uri.partition(':')[2][:15]}".replace("@", "-").replace(":", "-")
    with Phone(system, f"first-{name}", "sip:service@callvault.example", []) as first:
        assert first.status == 200
        with Phone(system, f"second-{name}", "sip:service@callvault.example", []) as second:
            assert second.status == 503
        with Phone(system, name, uri, headers) as emergency:
            assert emergency.status == 200
    row = over(officer, "call_id", name)
    detail = row["detail"]
    assert row["state"] == "not_recorded"
    assert (detail["why"], detail["emergency"], detail["recorded"]) == ("emergency call", True, False)
    assert detail["from"] is None
    assert row["id"] in [found["id"] for found in find(officer, "number", IN_DISTRESS)]  # sealed, but kept
    assert not any(artefact["kind"] == "audio" for artefact in row["artefacts"])
