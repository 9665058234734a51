"""What only a bucket has: credentials, versions, locks, a configuration of its own, and a network in between."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from minio.commonconfig import COMPLIANCE, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule, Transition
from minio.objectlockconfig import DAYS, ObjectLockConfig
from minio.retention import Retention
from minio.versioningconfig import VersioningConfig

from benchmarks.stores import SECRET_KEY, StoreServer, juicefs
from storage.errors import AlreadyExists, Malformed, StoreError, Unavailable
from storage.model import new_id
from storage.objects import ObjectStore, open_store
from storage.objects.address import BucketAddress
from storage.objects.bucket import ATTEMPTS, PAUSE_S, BucketStore
from storage.objects.credentials import CredentialSource
from storage.objects.s3 import OBJECT_BYTES_MAX, S3, Unreachable
from tests.storage.servers import FixedAnswer, LossyRelay, moto


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="module")
def juicefs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with juicefs(tmp_path_factory.mktemp("juicefs")) as server:
        yield server


def bucket_of(server: StoreServer, *, lock: bool = False) -> str:
    """A new bucket."""
    name = new_id()
    server.client.make_bucket(name, object_lock=lock)
    return name


def patient(url: str) -> tuple[BucketStore, list[float]]:
    """A store of which the pauses between attempts are noted and not waited for."""
    address = BucketAddress.parse(url)
    pauses: list[float] = []
    return BucketStore(address, S3(address, CredentialSource(address.credentials, {})), pauses.append), pauses


def codes(store: ObjectStore) -> list[str]:
    return [finding.code for finding in store.examine()]


# Credentials.


@pytest.mark.parametrize(
    ("key", "secret", "mends"),
    [("callvault", "not the secret", "secret key"), ("somebody", SECRET_KEY, "access key"), ("", "", "credentials")],
)
def test_wrong_credentials_are_refused_and_said_without_repeating_them(
    juicefs_server: StoreServer, tmp_path: Path, key: str, secret: str, mends: str
) -> None:
    url = juicefs_server.bucket(bucket_of(juicefs_server))
    path = tmp_path / "credentials"
    path.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n")
    path.chmod(0o600)
    store, pauses = patient(url.replace(str(juicefs_server.credentials), str(path)))
    for call in (store.check, lambda: store.put("a", b""), lambda: store.get("a"), lambda: list(store.list())):
        with pytest.raises(Unavailable, match=mends) as refused:
            call()
        assert not secret or secret not in str(refused.value)
    (finding,) = store.examine()
    assert (finding.code, finding.refuse) == ("store-unusable", True)
    assert pauses == [], "no attempt is repeated that cannot succeed"


def test_missing_bucket_is_refused_with_what_mends_it(moto_server: StoreServer) -> None:
    store, pauses = patient(moto_server.url("nobody-made-it"))
    with pytest.raises(Unavailable, match="make it"):
        store.put("a", b"")
    with pytest.raises(Unavailable, match="make it"):
        list(store.list())
    assert [finding.refuse for finding in store.examine()] == [True]
    assert pauses == []


# Conditions, versions, locks.


def test_store_that_ignores_conditions_is_told_from_one_that_honours_them(
    moto_server: StoreServer, juicefs_server: StoreServer
) -> None:
    assert codes(open_store(moto_server.url(bucket_of(moto_server)))) == []
    assert codes(open_store(juicefs_server.url(bucket_of(juicefs_server)))) == ["store-unconditional"]


def test_looking_again_and_again_leaves_one_probe(moto_server: StoreServer) -> None:
    bucket = bucket_of(moto_server, lock=True)
    store = open_store(moto_server.url(bucket))
    for _ in range(3):
        store.check()
    assert len(list(moto_server.client.list_objects(bucket, recursive=True, include_version=True))) == 1
    assert list(store.list()) == [], "it is no object of ours"


def test_delete_and_purge_take_all_versions_and_delete_markers(moto_server: StoreServer) -> None:
    bucket, client = bucket_of(moto_server), moto_server.client
    client.set_bucket_versioning(bucket, VersioningConfig("Enabled"))
    store = open_store(moto_server.url(bucket))
    for name in ("a/1", "a/2"):
        for _ in range(3):  # written, deleted by somebody with an ordinary tool, and written again
            store.put(name, b"data")
            client.remove_object(bucket, name)
    assert list(store.list()) == [], "for who lists they are gone"
    assert len(versions(moto_server, bucket)) == 12
    assert list(store.delete("a/1")) == []
    assert {name for name, _ in versions(moto_server, bucket)} == {"a/2"}
    assert store.purge("a/").objects == 1
    assert versions(moto_server, bucket) == []


@pytest.mark.parametrize("which", ["moto_server", "juicefs_server"])
def test_purge_takes_unfinished_uploads_that_others_left(which: str, request: pytest.FixtureRequest) -> None:
    server: StoreServer = request.getfixturevalue(which)
    bucket, client = bucket_of(server), server.client
    for name in ("calls/a/1", "calls/a/2", "calls/b/1"):
        client._create_multipart_upload(bucket, name, {})
    open_store(server.url(bucket, "calls")).purge("a/")
    uploads = client._list_multipart_uploads(bucket, prefix="calls/b/1" if which == "juicefs_server" else "").uploads
    assert [upload.object_name for upload in uploads] == ["calls/b/1"]
    assert client._list_multipart_uploads(bucket, prefix="calls/a/1").uploads == []


def test_locked_object_stays_with_its_day_and_the_others_go(moto_server: StoreServer) -> None:
    bucket, client = bucket_of(moto_server, lock=True), moto_server.client
    store = open_store(moto_server.url(bucket, "calls"))
    for name in ("a/free", "a/locked", "a/held"):
        store.put(name, b"data")
    until = datetime(2038, 1, 2, 3, 4, 5, tzinfo=UTC)
    client.set_object_retention(bucket, "calls/a/locked", Retention(COMPLIANCE, until))
    client.enable_object_legal_hold(bucket, "calls/a/held")
    purged = store.purge("a/")
    assert purged.objects == 1
    assert {kept.name: kept.until for kept in purged.kept} == {"a/locked": until.timestamp(), "a/held": None}
    assert [kept.name for kept in store.delete("a/locked")] == ["a/locked"]
    assert store.get("a/locked") == b"data", "a lock is not got round"
    client.disable_object_legal_hold(bucket, "calls/a/held")
    assert list(store.delete("a/held")) == []


def test_of_several_locked_versions_the_longest_lock_counts(moto_server: StoreServer) -> None:
    bucket, client = bucket_of(moto_server, lock=True), moto_server.client
    store = open_store(moto_server.url(bucket))
    for day in (30, 10):
        store.put("a", b"data")
        client.set_object_retention(bucket, "a", Retention(COMPLIANCE, datetime(2038, 1, day, tzinfo=UTC)))
        client.remove_object(bucket, "a")
    store.put("a", b"data")
    purged = store.purge("a")
    assert purged.objects == 0
    assert [(kept.name, kept.until) for kept in purged.kept] == [("a", datetime(2038, 1, 30, tzinfo=UTC).timestamp())]
    assert versions(moto_server, bucket) == [("a", False)] * 2, "what is not locked is gone, markers too"


def versions(server: StoreServer, bucket: str) -> list[tuple[str, bool]]:
    """Name and whether it is a delete marker, of everything but the probe."""
    found = server.client.list_objects(bucket, recursive=True, include_version=True)
    named = [(str(version.object_name), version.is_delete_marker) for version in found]
    return [(name, marker) for name, marker in named if not name.startswith(".")]


# Configuration.


def statement(**more: object) -> str:
    allow = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow]})


@pytest.mark.parametrize("which", ["moto_server", "juicefs_server"])
def test_public_bucket_is_refused_until_it_is_closed(which: str, request: pytest.FixtureRequest) -> None:
    server: StoreServer = request.getfixturevalue(which)
    bucket = bucket_of(server)
    store = open_store(server.url(bucket))
    server.client.set_bucket_policy(bucket, statement(Resource=[f"arn:aws:s3:::{bucket}/*"]))
    assert [finding.code for finding in store.examine() if finding.refuse] == ["store-public"]
    server.client.delete_bucket_policy(bucket)
    assert not any(finding.refuse for finding in store.examine())


def test_bucket_that_its_access_list_opens_is_refused(moto_server: StoreServer) -> None:
    bucket = bucket_of(moto_server)
    headers: dict[str, str | list[str] | tuple[str]] = {"x-amz-acl": "public-read"}
    moto_server.client._execute("PUT", bucket, headers=headers, query_params={"acl": ""})
    assert codes(open_store(moto_server.url(bucket))) == ["store-public"]


def set_conditional_policy(server: StoreServer, bucket: str) -> None:
    condition = {"StringEquals": {"aws:SourceVpce": "vpce-1"}}
    server.client.set_bucket_policy(bucket, statement(Resource=[f"arn:aws:s3:::{bucket}/*"], Condition=condition))


def set_versions(server: StoreServer, bucket: str) -> None:
    server.client.set_bucket_versioning(bucket, VersioningConfig("Enabled"))


def set_expiry(server: StoreServer, bucket: str) -> None:
    rule = Rule("Enabled", rule_filter=Filter(prefix="calls/"), rule_id="r", expiration=Expiration(days=30))
    server.client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))


def set_expiry_elsewhere(server: StoreServer, bucket: str) -> None:
    rule = Rule("Enabled", rule_filter=Filter(prefix="logs/"), rule_id="r", expiration=Expiration(days=30))
    server.client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))


def set_move(server: StoreServer, bucket: str) -> None:
    move = Transition(days=30, storage_class="GLACIER")
    rule = Rule("Enabled", rule_filter=Filter(prefix=""), rule_id="r", transition=move)
    server.client.set_bucket_lifecycle(bucket, LifecycleConfig([rule]))


@pytest.mark.parametrize(
    ("configure", "said"),
    [
        (set_conditional_policy, ["store-conditional"]),
        (set_versions, ["store-versioned"]),
        (set_expiry, ["store-expires"]),
        (set_expiry_elsewhere, []),
        (set_move, ["store-moves"]),
    ],
)
def test_configuration_that_its_operator_should_know_is_said(
    moto_server: StoreServer, configure: Callable[[StoreServer, str], None], said: list[str]
) -> None:
    bucket = bucket_of(moto_server)
    configure(moto_server, bucket)
    findings = open_store(moto_server.url(bucket, "calls")).examine()
    assert [(finding.code, finding.refuse) for finding in findings] == [(code, False) for code in said]


def test_default_lock_is_said_with_its_length(moto_server: StoreServer) -> None:
    bucket = bucket_of(moto_server, lock=True)
    moto_server.client.set_object_lock_config(bucket, ObjectLockConfig(COMPLIANCE, 30, DAYS))
    locked = [finding for finding in open_store(moto_server.url(bucket)).examine() if finding.code == "store-locked"]
    assert "COMPLIANCE 30 Days" in locked[0].text


# The network in between.

FIXED = "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n{body}"


def answer(status: str, body: str = "", length: int | None = None, more: str = "") -> bytes:
    return FIXED.format(status=status, length=len(body) if length is None else length, more=more, body=body).encode()


XML = "Content-Type: application/xml\r\n"
ANSWERS = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-x\r\n",
    "a page": answer("200 OK", "<html>login</html>", more="Content-Type: text/html\r\n"),
    "an error page": answer("502 Bad Gateway", "<html></html>", more="Content-Type: text/html\r\n"),
    "a refusal without words": answer("403 Forbidden"),
    "no XML": answer("500 Oops", "<Error", more=XML),
    "an error without code": answer("400 Bad Request", "<Error></Error>", more=XML),
    "a code full of things": answer("400 Bad Request", "<Error><Code>call +4420</Code></Error>", more=XML),
    "elsewhere": answer("301 Moved", more="Location: http://192.0.2.1/\r\n"),
    "elsewhere for now": answer("307 Temporary Redirect", more="Location: http://192.0.2.1/\r\n"),
    "half": answer("200 OK", "half", length=100),
    "no number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\nConnection: close\r\n\r\nx",
    "slow down": answer("503 Slow Down", "<Error><Code>SlowDown</Code></Error>", more=XML),
}


@pytest.mark.parametrize("said", ANSWERS)
def test_server_that_does_not_speak_s3_is_unavailable_and_nothing_else(said: str, juicefs_server: StoreServer) -> None:
    server = FixedAnswer(ANSWERS[said])
    url = f"s3+http://127.0.0.1:{server.port}/calls?credentials={juicefs_server.credentials}"
    try:
        store, _ = patient(url)
        for call in (store.check, lambda: list(store.list()), lambda: store.purge("a/"), lambda: store.get("a", 0, 2)):
            with pytest.raises(StoreError) as failed:
                call()
            assert isinstance(failed.value, Unavailable)
            assert "+4420" not in str(failed.value)
        assert codes(store)[0] in {"store-away", "store-unusable"}
    finally:
        server.close()


def test_more_bytes_than_asked_for_are_not_read(juicefs_server: StoreServer) -> None:
    server = FixedAnswer(answer("206 Partial Content", "x" * 1000))
    try:
        store, _ = patient(f"s3+http://127.0.0.1:{server.port}/calls?credentials={juicefs_server.credentials}")
        with pytest.raises(Unavailable, match="more bytes"):
            store.get("a", 0, 999)
    finally:
        server.close()


def test_server_that_ignores_ranges_is_not_believed(juicefs_server: StoreServer) -> None:
    server = FixedAnswer(answer("200 OK", "x" * 1000))
    try:
        store, _ = patient(f"s3+http://127.0.0.1:{server.port}/calls?credentials={juicefs_server.credentials}")
        with pytest.raises(Unavailable, match="whole object"):
            store.get("a", 10, 990)
    finally:
        server.close()


def test_absent_server_is_tried_a_few_times_and_longer_apart(juicefs_server: StoreServer) -> None:
    store, pauses = patient(f"s3+http://127.0.0.1:1/calls?credentials={juicefs_server.credentials}")
    with pytest.raises(Unreachable):
        store.get("a")
    assert len(pauses) == ATTEMPTS - 1
    assert PAUSE_S / 2 <= pauses[0] <= PAUSE_S * 1.5 <= pauses[1]
    (finding,) = store.examine()
    assert (finding.code, finding.refuse) == ("store-away", False), "calls are taken, and kept in the spool"


def test_put_whose_answer_was_lost_has_happened_once(moto_server: StoreServer) -> None:
    relay = LossyRelay(moto_server.port)
    bucket = bucket_of(moto_server)
    direct = moto_server.url(bucket)
    try:
        store, pauses = patient(direct.replace(str(moto_server.port), str(relay.port)))
        store.put("a", b"data")
        assert (relay.lost, len(pauses)) == (1, 1)
        with pytest.raises(AlreadyExists):
            store.put("a", b"data")
    finally:
        relay.close()
    assert open_store(direct).get("a") == b"data"


def test_object_beyond_the_limit_is_refused_before_it_is_sent(moto_server: StoreServer) -> None:
    store = open_store(moto_server.url(bucket_of(moto_server)))
    store.check()
    with pytest.raises(Malformed, match=str(OBJECT_BYTES_MAX)):
        store.put("a", bytes(OBJECT_BYTES_MAX + 1))


def test_plain_http_beyond_this_machine_is_said() -> None:
    address = BucketAddress.parse("s3+http://192.0.2.1/calls")
    assert not address.secure
    assert not address.is_loopback


def test_what_was_acknowledged_survives_kill_9_in_mid_upload(tmp_path: Path) -> None:
    """Four writers, the server killed under them and started again: every put ends, and what was said to be is."""
    written: dict[str, bytes] = {}
    with juicefs(tmp_path / "server") as server:
        store = open_store(server.bucket("calls"))
        store.check()
        stop = threading.Event()
        failures: list[StoreError] = []

        def write(number: int) -> None:
            data = bytes([number]) * (1 << 20)
            for count in range(10_000):
                if stop.is_set():
                    return
                name = f"a/{number}-{count}"
                try:
                    store.put(name, data)
                except StoreError as error:
                    failures.append(error)
                else:
                    written[name] = data

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(written) >= 8)
        server.kill()
        wait_for(lambda: len(failures) >= 4)
        server.start()
        before = len(written)
        wait_for(lambda: len(written) >= before + 8)
        stop.set()
        for thread in threads:
            thread.join()
        assert {type(failure) for failure in failures} == {Unreachable}
        assert all(store.get(name) == data for name, data in written.items())
        for name, size in store.list():
            assert size == 1 << 20, "an object is there whole or not at all"
            assert name in written or store.get(name) == bytes([int(name[2])]) * (1 << 20)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
