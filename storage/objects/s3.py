"""Requests to one S3 bucket, by the `minio` client: bounded in time and size, its errors in our words.

The one home of the client. Requests for which it has no method, or a method without the header that we need, go through
`_execute`, which signs and sends anything; the version is pinned for that.
"""

from __future__ import annotations

import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple, TypeVar
from xml.etree import ElementTree as ET  # only its error, which the client lets through

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from storage.errors import AlreadyExists, Malformed, NotFound, StoreError, Unavailable
from storage.objects.address import BucketAddress
from storage.objects.credentials import CredentialSource

CONNECT_S = 3.0
"""A store that does not take a connection by then is away; SYN is sent again after 1 s."""
READ_S = 15.0
"""Of silence within an answer. A store that is slower than that for two megabytes cannot keep up with calls anyway."""
BODY_S = 60.0
"""For all of an answer's body: no store may hold a reader by trickling."""
OBJECT_BYTES_MAX = 1 << 26
"""Larger ones are neither written nor read: ours have some two megabytes, and are sent and read in one piece."""
CONNECTIONS = 64
"""Kept open at most: more than threads of one process ever read or put at once."""
DELETES_AT_ONCE = 1000
"""The protocol's own limit of one request."""
_CHUNK_BYTES = 1 << 16
_UPLOAD_PAGES_MAX = 100
"""Of unfinished uploads, 1,000 each. We begin none, so whoever left more than that may come back and ask again."""

_MENDS = {
    "NoSuchBucket": "there is no such bucket; make it, or name another in store.objects",
    "AccessDenied": "these credentials may not do that in the bucket; allow them to get, put, list and delete",
    "InvalidAccessKeyId": "the store does not know the access key; check the credentials",
    "SignatureDoesNotMatch": "the store refuses the signature; check the secret key",
    "ExpiredToken": "the session token has expired; renew the credentials",
    "InvalidToken": "the store refuses the session token; renew the credentials",
    "RequestTimeTooSkewed": "clocks differ by more than 15 minutes; set this machine's or the store's",
    "AuthorizationHeaderMalformed": "the bucket is in another region; name it by ?region=",
    "PermanentRedirect": "the bucket is elsewhere; name its own endpoint in store.objects",
    "QuotaExceeded": "the store is full; raise its quota",
    "XMinioStorageFull": "the store is full; give it room",
}
"""Answers that no retry mends, and what does."""
_NOT_THERE = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload"})
_NOT_CONFIGURED = frozenset(
    {
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "NotImplemented",
        "MethodNotAllowed",
    }
)
"""The bucket has no such configuration, or the store no such thing."""
_CODE = re.compile(r"[A-Za-z]{1,64}\Z")

_Words = dict[str, str | list[str] | tuple[str]]
_Found = TypeVar("_Found")


class Unreachable(Unavailable):
    """No answer, or one that promises another later: trying again soon is worth it."""


class Version(NamedTuple):
    """One version of an object, or a delete marker."""

    key: str
    id: str | None


@dataclass(frozen=True, slots=True)
class Lock:
    """What keeps a version from being deleted."""

    until: float | None  # Unix time
    hold: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """What one enabled lifecycle rule does to objects by itself."""

    prefix: str
    expires: bool
    moves: bool


class _Provider(Provider):
    def __init__(self, source: CredentialSource) -> None:
        self._source = source

    def retrieve(self) -> Credentials:
        found = self._source.now()
        return Credentials(found.access_key, found.secret_key, found.session_token)


class S3:
    """One bucket. Safe to call from several threads; each method is one request, or the pages of one listing.

    Every method may raise `Unavailable`, as `Unreachable` where the same request may succeed in a moment.
    """

    def __init__(self, address: BucketAddress, source: CredentialSource) -> None:
        self._bucket = address.bucket
        context = ssl.create_default_context() if address.secure else None  # SSL_CERT_FILE names a private authority
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            maxsize=CONNECTIONS,
            retries=False,  # by the caller, who knows what may be repeated; and no redirect is followed
            ssl_context=context,
        )
        provider = _Provider(source)
        self._client = Minio(
            address.endpoint, credentials=provider, secure=address.secure, region=address.region, http_client=pool
        )

    # Objects.

    def put(self, key: str, data: bytes, *, overwrite: bool = False) -> None:
        """Store an object; `AlreadyExists` if there is one and the store honours conditions.

        The store checks what arrives: by the signed hash of the body without TLS, by the client's MD5 with it, and by
        its SHA-256 where it knows that header.
        """
        if len(data) > OBJECT_BYTES_MAX:
            raise Malformed(f"an object of {len(data)} bytes; at most {OBJECT_BYTES_MAX} are stored")
        headers: _Words = {
            "Content-Type": "application/octet-stream",
            "x-amz-checksum-sha256": b64encode(sha256(data).digest()).decode(),
            "x-amz-sdk-checksum-algorithm": "SHA256",  # where objects are locked, one of the checksums is demanded
        }
        if not overwrite:
            headers["If-None-Match"] = "*"
        with _translated("put"):
            self._client._execute("PUT", self._bucket, key, body=data, headers=headers, no_body_trace=True)

    def get(self, key: str, start: int = 0, length: int | None = None, version: str | None = None) -> bytes:
        """A range of an object, cut to the object, or of one of its versions; `NotFound`."""
        if length == 0:
            self.size(key)
            return b""
        deadline = time.monotonic() + BODY_S
        with _translated("get"):
            try:
                response = self._client.get_object(
                    self._bucket, key, offset=start, length=length or 0, version_id=version
                )
            except S3Error as error:
                if error.code == "InvalidRange":
                    return b""
                raise
            try:
                if response.status == 200 and start:
                    raise Unavailable("object store, get: it answers a range with the whole object")
                return _read(response, OBJECT_BYTES_MAX if length is None else length, deadline)
            finally:
                response.close()
                response.release_conn()

    def size(self, key: str) -> int:
        """Bytes of an object; `NotFound`."""
        with _translated("head"):
            return self._client.stat_object(self._bucket, key).size or 0

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Key and size of every object whose key begins so."""
        with _translated("list"):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                yield str(found.object_name), found.size or 0

    # Versions, and what else is left of objects.

    def versions(self, prefix: str, *, markers: bool = True) -> Iterator[Version]:
        """Every version, and every delete marker unless without, whose key begins so, keys in their order."""
        with _translated("list"):
            found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True, include_version=True)
            for version in found:
                if version.is_delete_marker and not markers:
                    continue
                yield Version(str(version.object_name), version.version_id)

    def delete(self, versions: Sequence[Version]) -> set[str]:
        """Delete up to `DELETES_AT_ONCE` versions for good; gives the keys of which some were refused."""
        with _translated("delete"):
            wanted = [DeleteObject(version.key, version.id) for version in versions]
            refused = {error.name: error.code for error in self._client.remove_objects(self._bucket, wanted)}
        if failed := {code for code in refused.values() if code not in {"AccessDenied", "ObjectLocked"} | _NOT_THERE}:
            raise Unreachable(f"object store, delete: {sorted(map(str, failed))[0]}")
        return {str(key) for key, code in refused.items() if code not in _NOT_THERE}

    def lock_of(self, version: Version) -> Lock:
        """What keeps a version; nothing of a version that is not there, or of a delete marker."""
        try:
            with _translated("head"):
                headers = self._client.stat_object(self._bucket, version.key, version_id=version.id).metadata or {}
        except NotFound:
            return Lock(None, False)
        return _lock(headers.get("x-amz-object-lock-retain-until-date"), headers.get("x-amz-object-lock-legal-hold"))

    def abort_uploads(self, prefix: str) -> int:
        """End every unfinished multipart upload whose key begins so, with its parts; gives how many."""
        aborted = 0
        for _ in range(_UPLOAD_PAGES_MAX):
            found = self._configured(lambda: self._client._list_multipart_uploads(self._bucket, prefix=prefix).uploads)
            ours = [upload for upload in found or () if str(upload.object_name).startswith(prefix)]
            if not ours:
                break
            for upload in ours:
                query: _Words = {"uploadId": str(upload.upload_id)}
                with suppress(NotFound), _translated("abort"):
                    self._client._execute("DELETE", self._bucket, upload.object_name, query_params=query)
            aborted += len(ours)
        return aborted

    # Configuration.

    def policy(self) -> str | None:
        """The bucket's policy as JSON, if it has one."""
        return self._configured(lambda: self._client.get_bucket_policy(self._bucket))

    def access_list(self) -> bytes | None:
        """The bucket's access control list as XML, if the store has such."""
        return self._configured(
            lambda: bytes(self._client._execute("GET", self._bucket, query_params={"acl": ""}).data)
        )

    def versioning(self) -> str | None:
        """`Enabled`, `Suspended`, or None."""
        return self._configured(lambda: self._client.get_bucket_versioning(self._bucket).status)

    def default_lock(self) -> str | None:
        """How new objects are locked by default, such as `COMPLIANCE 30 Days`; "" if locks are only possible."""

        def read() -> str:
            found = self._client.get_object_lock_config(self._bucket)
            return f"{found.mode} {found.duration} {found.duration_unit}" if found.mode else ""

        return self._configured(read)

    def lifecycle(self) -> Sequence[Rule]:
        """What is done to objects by themselves."""
        found = self._configured(lambda: self._client.get_bucket_lifecycle(self._bucket))
        return [
            Rule(
                prefix=(rule.rule_filter.prefix or "") if rule.rule_filter else "",
                expires=bool(rule.expiration and (rule.expiration.days or rule.expiration.date)),
                moves=bool(rule.transition),
            )
            for rule in (found.rules if found else ())
            if rule.status == "Enabled"
        ]

    def _configured(self, ask: Callable[[], _Found]) -> _Found | None:
        with _translated("configuration"):
            try:
                return ask()
            except S3Error as error:
                if error.code in _NOT_CONFIGURED:
                    return None
                raise


def _read(response: BaseHTTPResponse, length: int, deadline: float) -> bytes:
    """At most `length` bytes of the body, and no more than the store announced."""
    if not response.headers.get("content-length", "").isdigit():  # without it half an object looks like a whole one
        raise Unavailable("object store, get: its answer has no length")
    body = bytearray()
    for chunk in response.stream(_CHUNK_BYTES):
        body += chunk
        if len(body) > length:
            raise Unavailable("object store, get: more bytes than were asked for")
        if time.monotonic() > deadline:
            raise Unreachable("object store, get: the answer takes too long")
    return bytes(body)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise _in_our_words(what, error.code or "") from error
    except ServerError as error:
        raise _by_status(what, error.status_code) from error
    except InvalidResponseError as error:
        raise _by_status(what, int(error._code)) from error
    except HTTPError as error:
        raise Unreachable(f"object store, {what}: {type(error).__name__}") from error
    except (MinioException, ET.ParseError, ValueError) as error:
        raise Unavailable(f"object store, {what}: its answer is not S3's") from error


def _in_our_words(what: str, code: str) -> StoreError:
    if code == "PreconditionFailed":
        return AlreadyExists("an object has that name already")
    if code in _NOT_THERE:
        return NotFound("no such object")
    if code in _MENDS:
        return Unavailable(f"object store, {what}: {_MENDS[code]}")
    return Unreachable(f"object store, {what}: {code if _CODE.match(code) else 'an error without a code'}")


def _by_status(what: str, status: int) -> Unavailable:
    kind = Unreachable if status >= 500 or status == 429 else Unavailable
    return kind(f"object store, {what}: HTTP status {status}")


def _lock(until: str | None, hold: str | None) -> Lock:
    """Of the two headers. An end that cannot be read is no end, as a hold has none."""
    try:
        end = datetime.fromisoformat(until).timestamp() if until else None
    except (ValueError, OverflowError):
        return Lock(None, True)
    return Lock(end, hold == "ON")
