"""What is true of OpenBao alone: what its keys may do, TLS and tokens, and answers that are no evidence."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from storage.errors import Erased, Malformed, Tampered, Unavailable
from storage.providers import KeyProvider, open_provider
from storage.providers.baohttp import ANSWER_BYTES_MAX, BaoServer
from storage.providers.openbao import OpenBaoProvider
from storage.providers.secretfile import SecretFile
from tests.gateway.ingest.authority import Authority
from tests.storage.keyservers import ADDRESS, OpenBao
from tests.storage.servers import FixedAnswer, read_request


@pytest.fixture
def mount(openbao: OpenBao) -> str:
    return openbao.mount()


@pytest.fixture
def provider(openbao: OpenBao, mount: str, tmp_path: Path) -> KeyProvider:
    return open_provider(openbao.url(mount), tmp_path / "data")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text("s.secret\n")
    return path


def test_a_key_is_made_so_that_it_never_comes_out(provider: KeyProvider, openbao: OpenBao, mount: str) -> None:
    provider.create("k-1")
    found = openbao.request("GET", f"{mount}/keys/k-1")["data"]
    assert (found["type"], found["exportable"], found["allow_plaintext_backup"]) == ("aes256-gcm96", False, False)
    assert (found["deletion_allowed"], found["latest_version"]) == (True, 1)


@pytest.mark.parametrize("change", ["config exportable", "config allow_plaintext_backup", "rotate", "made elsewhere"])
def test_a_key_that_could_come_out_or_has_versions_is_not_used(
    provider: KeyProvider, openbao: OpenBao, mount: str, change: str
) -> None:
    if change == "made elsewhere":
        openbao.request("POST", f"{mount}/keys/k-1", {"type": "chacha20-poly1305"})
    else:
        provider.create("k-1")
        verb, _, field = change.partition(" ")
        openbao.request("POST", f"{mount}/keys/k-1/{verb}", {field: True} if field else {})
    for use in (provider.create, lambda name: provider.wrap(name, b"secret", b"")):
        with pytest.raises(Unavailable, match="not as it must be"):
            use("k-1")
    provider.destroy("k-1")
    assert not provider.exists("k-1")


def test_the_policy_that_we_give_allows_no_way_to_read_a_key_out(
    provider: KeyProvider, openbao: OpenBao, mount: str
) -> None:
    provider.create("k-1")
    ours = BaoServer(f"http://{ADDRESS}:{openbao.port}/v1/{mount}/", SecretFile(openbao.token, "token"), "", None, 5.0)
    attempts = [
        ("GET", "export/encryption-key/k-1", None),
        ("GET", "backup/k-1", None),
        ("POST", "keys/k-1/rotate", {}),
        ("POST", "keys/k-1/config", {"exportable": True}),
        ("POST", "config/keys", {"disable_upsert": False}),
    ]
    for method, path, body in attempts:
        with pytest.raises(Unavailable, match="403"):
            ours.ask(method, path, body)


def test_a_mount_that_makes_keys_unasked_is_refused(provider: KeyProvider, openbao: OpenBao, mount: str) -> None:
    provider.create("k-1")
    openbao.request("POST", f"{mount}/config/keys", {"disable_upsert": False})
    for use in (provider.check, lambda: provider.create("k-2"), lambda: provider.wrap("k-1", b"", b"")):
        with pytest.raises(Unavailable, match="disable_upsert=true"):
            use()


def test_a_sealed_server_is_away(provider: KeyProvider, openbao: OpenBao) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    with openbao.sealed():
        for use in (lambda: provider.unwrap("k-1", wrapped, b""), lambda: provider.exists("k-2"), provider.check):
            with pytest.raises(Unavailable, match="sealed"):
                use()
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"


def test_another_mount_or_namespace_and_a_token_without_rights_are_no_evidence(
    provider: KeyProvider, openbao: OpenBao, mount: str, token: Path, tmp_path: Path
) -> None:
    provider.create("k-1")
    wrapped = provider.wrap("k-1", b"secret", b"")
    openbao.request("POST", "sys/mounts/other", {"type": "kv"})
    stranger = openbao.url(mount).replace(str(openbao.token), str(token))
    for url in (openbao.url("nowhere"), openbao.url("other"), openbao.url(mount) + "&namespace=none", stranger):
        elsewhere = open_provider(url, tmp_path)
        with pytest.raises(Unavailable):
            elsewhere.unwrap("k-1", wrapped, b"")
        for use in (elsewhere.exists, elsewhere.destroy):
            with pytest.raises(Unavailable):
                use("k-1")
    openbao.request("DELETE", "sys/mounts/other")
    assert provider.unwrap("k-1", wrapped, b"") == b"secret"


def test_a_new_token_in_the_file_is_taken_without_a_restart(
    openbao: OpenBao, mount: str, token: Path, tmp_path: Path
) -> None:
    provider = open_provider(openbao.url(mount).replace(str(openbao.token), str(token)), tmp_path)
    with pytest.raises(Unavailable, match="token may not"):
        provider.check()
    token.write_text(openbao.token.read_text())
    provider.check()
    token.chmod(0o644)
    token.touch()
    with pytest.raises(Unavailable, match="chmod 600"):
        provider.check()


def test_tls_needs_an_authority_that_vouches(
    openbao: OpenBao, mount: str, authority: Authority, tmp_path: Path
) -> None:
    base = f"openbao://{ADDRESS}:{openbao.tls_port}/{mount}?token-file={openbao.token}"
    provider = open_provider(f"{base}&ca-file={authority.ca}", tmp_path)
    provider.create("k-1")
    assert provider.exists("k-1")
    other = Authority(tmp_path, "other")
    for url in (base, f"{base}&ca-file={other.ca}", f"{base}&ca-file=/nowhere.pem"):
        with pytest.raises(Unavailable):
            open_provider(url, tmp_path).exists("k-1")


_EVIL = [
    b"HTTP/1.1 429 Standby\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 503 Sealed\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nNot Found",
    b'HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\n{"errors":[]}',
    b'HTTP/1.1 400 No\r\nContent-Length: 39\r\n\r\n{"errors":["encryption key not found"]}',
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":[1]}'[:-1],
    b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + b"[" * 60,
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * ANSWER_BYTES_MAX),
    b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}",
    b"SSH-2.0-OpenSSH\r\n",
    b"",
]


@pytest.mark.parametrize("answer", _EVIL, ids=range(len(_EVIL)))
def test_what_is_not_openbao_destroys_nothing_and_proves_nothing(answer: bytes, token: Path) -> None:
    server = FixedAnswer(answer)
    try:
        provider = open_provider(f"openbao+http://127.0.0.1:{server.port}/transit?token-file={token}", token.parent)
        wrapped = b"vault:v1:" + b"A" * 60
        for use in (
            lambda: provider.unwrap("k-1", wrapped, b""),
            lambda: provider.exists("k-1"),
            lambda: provider.destroy("k-1"),
            lambda: provider.create("k-1"),
            provider.check,
        ):
            with pytest.raises(Unavailable) as told:
                use()
            assert "s.secret" not in str(told.value)
    finally:
        server.close()


def test_an_answer_that_trickles_is_given_up(token: Path) -> None:
    with socket.create_server((ADDRESS, 0)) as listening:
        port = listening.getsockname()[1]

        def trickle() -> None:
            connection, _ = listening.accept()
            with connection:
                read_request(connection)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(100):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return
                    time.sleep(0.1)

        thread = threading.Thread(target=trickle)
        thread.start()
        provider = OpenBaoProvider(f"http://{ADDRESS}:{port}/v1/transit/", SecretFile(token, "token"), answer_s=0.3)
        started = time.monotonic()
        with pytest.raises(Unavailable, match="takes too long"):
            provider.check()
        assert time.monotonic() - started < 5.0
        thread.join()


def test_bytes_that_openbao_never_gave_do_not_reach_it(provider: KeyProvider) -> None:
    provider.create("k-1")
    for data in (b"vault:v2:" + b"A" * 60, b"vault:v1:" + b"\xff" * 60, b"vault:v1:" + b"A" * 60, b"{}"):
        with pytest.raises(Tampered):
            provider.unwrap("k-1", data, b"")
    provider.destroy("k-1")
    with pytest.raises(Erased):
        provider.unwrap("k-1", b"other", b"")


@pytest.mark.parametrize(
    "url",
    [
        "openbao:transit?token-file=/t",
        "openbao://host/transit",
        "openbao://host?token-file=/t",
        "openbao://host/a//b?token-file=/t",
        "openbao://host/../b?token-file=/t",
        "openbao://host/transit?token-file=t",
        "openbao://user:hush@host/transit?token-file=/t",
        "openbao://host/transit?token-file=/t&token=hush",
        "openbao://host:x/transit?token-file=/t",
        "openbao://ho%20st/transit?token-file=/t",
        "openbao://host/transit?token-file=/t&namespace=a%20b",
        "openbao+http://host/transit?token-file=/t",
        "openbao+http://192.0.2.1/transit?token-file=/t",
    ],
)
def test_a_url_that_is_no_server_with_a_token_file_is_malformed_and_shows_no_token(url: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed) as told:
        open_provider(url, tmp_path)
    assert "hush" not in str(told.value)


def test_its_clock_is_what_its_answers_say_and_on_this_machine_it_is_no_witness(
    openbao: OpenBao, provider: KeyProvider, token: Path, tmp_path: Path
) -> None:
    assert provider.clock() is None
    server = provider._server  # type: ignore[attr-defined]  # as one elsewhere would be asked
    assert abs(server.clock() - time.time()) < 5
