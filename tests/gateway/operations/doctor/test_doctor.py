"""The doctor: what is missing is found, said with its cure, and never keeps the other checks from running."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.config import Settings
from gateway.operations.clock import UNKNOWN, ClockState
from gateway.operations.doctor import certificate, machine, parts
from gateway.operations.doctor.command import as_text, examine
from gateway.operations.doctor.row import Row, State
from gateway.operations.doctor.trunks import advertised, names, registrations
from storage.spoollock import writing
from tests.gateway.ingest.authority import Authority
from tests.gateway.ingest.nameserver import NameServer


def settings(folder: Path, **sections: Any) -> Settings:
    base = {"data": folder / "data", "transcription": {"workers": 0}}
    return Settings.model_validate(base | sections)


def named(rows: Iterator[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that another program listens on, by UDP and TCP."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(tcp.getsockname())
        yield f"127.0.0.1:{tcp.getsockname()[1]}"


def test_a_port_that_another_program_has_fails_and_the_cure_names_it(tmp_path: Path, taken: str) -> None:
    rows = list(machine.ports(settings(tmp_path, sip={"listen": taken}, http={"listen": taken})))
    for name in ("sip.listen (udp)", "sip.listen (tcp)", "http.listen"):
        row = named(iter(rows), name)
        assert row.state is State.FAIL
        assert taken.rpartition(":")[2] in row.mend


def test_ports_that_a_running_callvault_has_are_no_fault(tmp_path: Path, taken: str) -> None:
    (tmp_path / "data").mkdir()
    with writing(tmp_path / "data" / "spool"):
        row = named(machine.ports(settings(tmp_path, sip={"listen": taken})), "sip.listen (udp)")
    assert (row.state, row.found) == (State.OK, machine.RUNNING)


def test_an_address_of_another_machine_fails(tmp_path: Path) -> None:
    wrong = settings(tmp_path, sip={"listen": "192.0.2.1:5060"}, media={"address": "192.0.2.1"})
    rows = list(machine.ports(wrong))
    assert named(iter(rows), "sip.listen (udp)").state is State.FAIL
    assert named(iter(rows), "media ports").state is State.FAIL


def test_tls_has_a_port_of_its_own(tmp_path: Path, taken: str) -> None:
    host, _, port = taken.rpartition(":")
    tls = {"certificate": "/nowhere/a.crt", "key": "/nowhere/a.key"}
    beside = {"listen": f"{host}:0", "transports": ["tcp", "tls"], "tls_port": int(port), "tls": tls}
    alone = {"listen": taken, "transports": ["tls"], "tls": tls}
    for sip in (beside, alone):
        assert named(machine.ports(settings(tmp_path, sip=sip)), "sip.listen (tls)").state is State.FAIL


def secure(folder: Path, certificate: tuple[Path, Path]) -> Settings:
    files = dict(zip(("certificate", "key"), map(str, certificate), strict=True))
    return settings(folder, sip={"transports": ["tls"], "tls": files})


@pytest.mark.parametrize(
    ("days", "state", "found"),
    [(90.5, State.OK, "good for 90 days"), (9.5, State.WARN, "good for 9 days"), (-2.5, State.FAIL, "expired 3 days")],
)
def test_a_certificate_is_told_before_it_expires(tmp_path: Path, days: float, state: State, found: str) -> None:
    row = named(certificate.certificate(secure(tmp_path, Authority(tmp_path).issue("sip", days=days))), "certificate")
    assert (row.state, row.found[: len(found)]) == (state, found)


def test_a_key_that_others_can_read_fails_with_its_cure(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("sip")
    checked = secure(tmp_path, files)
    assert named(certificate.certificate(checked), "certificate key").state is State.OK
    files[1].chmod(0o640)
    row = named(certificate.certificate(checked), "certificate key")
    assert (row.state, row.mend) == (State.FAIL, f"chmod 0600 {files[1]}")


def test_a_certificate_that_cannot_be_used_fails_and_none_is_no_fault(tmp_path: Path) -> None:
    (row,) = certificate.certificate(secure(tmp_path, (tmp_path / "a.crt", tmp_path / "a.key")))
    assert row.state is State.FAIL
    (row,) = certificate.certificate(settings(tmp_path))
    assert row.state is State.OK


def test_too_few_ports_for_the_calls_is_a_warning(tmp_path: Path) -> None:
    few = settings(tmp_path, media={"port_first": 42000, "port_last": 42100})
    assert named(machine.ports(few), "media ports").state is not State.OK


def test_more_calls_than_descriptors_is_a_warning(tmp_path: Path) -> None:
    row = named(machine.limits(settings(tmp_path, sip={"calls_max": 100_000})), "open files")
    assert "401000" in row.found
    assert row.state is State.WARN or "unlimited" in row.found or int(row.found.split(";")[0]) >= 401_000


def test_limits_are_all_told(tmp_path: Path) -> None:
    rows = [row.name for row in machine.limits(settings(tmp_path))]
    assert rows == ["open files", "receive buffer", "swap", "media workers"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ClockState(True, 0.4, 30.0), State.OK),
        (ClockState(True, None, None), State.OK),
        (ClockState(True, 5000.0, 9000.0), State.WARN),
        (ClockState(False, None, None), State.WARN),
        (UNKNOWN, State.WARN),
    ],
)
def test_a_clock_is_worth_what_keeps_it(state: ClockState, expected: State) -> None:
    assert machine.judge_clock(state).state is expected


def test_a_spool_larger_than_the_disk_is_a_warning(tmp_path: Path) -> None:
    rows = list(machine.disk(settings(tmp_path, store={"spool_limit_mib": 1 << 30})))
    assert named(iter(rows), "disk space").state is State.WARN
    assert named(iter(rows), "fsync").found.endswith("ms")


def test_a_data_folder_that_others_may_enter_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    row = named(machine.disk(settings(tmp_path)), "data folder")
    assert (row.state, row.mend) == (State.WARN, f"chmod 700 {tmp_path / 'data'}")


def test_a_keyring_inside_the_data_folder_fails_with_its_cure(tmp_path: Path) -> None:
    keys = f"file:{tmp_path / 'data' / 'keys'}"
    row = named(parts.store(settings(tmp_path, store={"keys": keys})), "key provider")
    assert row.state is State.FAIL
    assert "elsewhere" in row.mend


def test_a_usable_store_is_told_so(tmp_path: Path) -> None:
    found = {row.name: row.state for row in parts.store(settings(tmp_path))}
    assert found == {"key provider": State.OK, "object store": State.OK, "witness": State.OK}


def test_a_full_spool_fails(tmp_path: Path) -> None:
    spool = tmp_path / "data" / "spool"
    spool.mkdir(parents=True)
    (spool / "x").write_bytes(b"x" * (2 << 20))
    small = {"spool_limit_mib": 64, "spool_file_mib": 1}
    assert named(parts.spool(settings(tmp_path, store=small)), "spool").state is State.OK
    (spool / "y").write_bytes(b"x" * (60 << 20))
    assert named(parts.spool(settings(tmp_path, store=small)), "spool").state is State.WARN
    (spool / "z").write_bytes(b"x" * (4 << 20))
    assert named(parts.spool(settings(tmp_path, store=small)), "spool").state is State.FAIL


def test_an_external_queue_that_does_not_answer_is_a_warning(tmp_path: Path, taken: str) -> None:
    there = settings(tmp_path, queue={"url": f"nats://{taken}"})
    assert named(parts.queue(there), "queue").state is State.OK
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, and nobody listens
        away = settings(tmp_path, queue={"url": f"nats://127.0.0.1:{free.getsockname()[1]}"})
        assert named(parts.queue(away), "queue").state is State.WARN


@pytest.mark.parametrize(("model", "state"), [("/nowhere/model", State.FAIL), ("package:unheard-of", State.FAIL)])
def test_a_missing_speech_model_fails(tmp_path: Path, model: str, state: State) -> None:
    wanted = settings(tmp_path, transcription={"workers": 1, "model": model, "names_model": "off"})
    rows = list(parts.models(wanted))
    assert named(iter(rows), "speech model").state is state
    assert named(iter(rows), "speech model").mend
    assert named(iter(rows), "names model").state is State.WARN


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(tmp_path: Path) -> None:
    def broken(_settings: Settings) -> Iterator[Row]:
        yield Row("first half", State.OK, "fine")
        raise RuntimeError("+31612345678")

    rows = examine(settings(tmp_path), [broken, machine.clock])
    assert [row.name for row in rows] == ["configuration", "first half", "broken", "clock"]
    assert rows[2].state is State.FAIL
    assert "612345678" not in as_text(rows)


def test_every_finding_that_is_not_well_has_a_cure(tmp_path: Path) -> None:
    for row in examine(settings(tmp_path)):
        assert bool(row.mend) == (row.state is not State.OK), row


def test_the_command_says_by_its_status_whether_callvault_can_run(
    tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "callvault.toml"
    file.write_text(f'[sip]\nlisten = "{taken}"\n[transcription]\nworkers = 0\n')
    arguments = ["doctor", "--json", "--config", str(file), "--data", str(tmp_path / "data")]
    assert main(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert {"name", "state", "found", "mend"} == set(told["rows"][0])
    file.write_text('[sip]\nlisten = "127.0.0.1:0"\n[http]\nlisten = "127.0.0.1:0"\n[transcription]\nworkers = 0\n')
    assert main(arguments) == 0
    file.write_text("colour = 1\n")
    assert main(arguments) == 2
    assert "colour: unknown key" in capsys.readouterr().err


INSIDE, OUTSIDE = {"address": "10.0.0.5"}, {"address": "10.0.0.5", "advertised": "1.1.1.1"}
CARRIER = ({"name": "carrier", "tenant": "default", "sources": ["8.8.8.0/24"]},)


@pytest.mark.parametrize(
    ("sip", "media", "trunks", "state"),
    [
        ({"listen": "10.0.0.5:5060"}, INSIDE, (), State.OK),
        ({"listen": "10.0.0.5:5060"}, INSIDE, CARRIER, State.WARN),
        ({"listen": "10.0.0.5:5060"}, OUTSIDE, CARRIER, State.WARN),
        ({"listen": "10.0.0.5:5060", "advertised": "1.1.1.1"}, OUTSIDE, CARRIER, State.OK),
        ({"listen": "1.1.1.1:5060"}, {"address": "1.1.1.1"}, CARRIER, State.OK),
    ],
)
def test_a_private_address_that_the_internet_is_told_is_found(
    tmp_path: Path, sip: dict[str, str], media: dict[str, str], trunks: tuple[object, ...], state: State
) -> None:
    [row] = advertised(settings(tmp_path, sip=sip, media=media, trunks=trunks))
    assert row.state is state
    assert ("10.0.0.5" in row.mend) is (state is State.WARN)


def test_peers_that_dns_does_not_know_are_named(tmp_path: Path) -> None:
    trunk = {"name": "t", "tenant": "default", "sources": ["host:here.example", "host:gone.example"]}
    with NameServer({"here.example": [("A", "192.0.2.1")]}) as server:
        sip = {"nameservers": [f"127.0.0.1:{server.address[1]}"]}
        [row] = names(settings(tmp_path, sip=sip, trunks=[trunk]))
    assert (row.state, row.found) == (State.WARN, "1 of 2 have addresses")
    assert "gone.example" in row.mend
    assert list(names(settings(tmp_path))) == []


@pytest.mark.parametrize(("mode", "state"), [(0o600, State.OK), (0o640, State.FAIL)])
def test_a_registrations_password_must_be_ours_alone(tmp_path: Path, mode: int, state: State) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    file.chmod(mode)
    registration = {"registrar": "sip:a.example", "user": "4420", "password_file": str(file)}
    [row] = registrations(settings(tmp_path, trunks=[{"name": "t", "tenant": "default", "registration": registration}]))
    assert row.state is state
    assert ("chmod 600" in row.found) is (state is State.FAIL)
