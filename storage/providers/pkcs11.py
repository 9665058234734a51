"""Keys in a PKCS#11 token, an HSM or SoftHSM: they are made in it and cannot be read out, not even by us.

    pkcs11:token=callvault[;serial=…]?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-file=/etc/callvault/pin

is an RFC 7512 URI; its `pin-source` does for `pin-file` as well. The PIN's file has mode 0600; a PIN in the URL is
refused. A key is an AES-256 secret key whose label is its name: sensitive, not extractable, not copyable, made in the
token, used only with AES-GCM. That is read back whenever it is looked up; if it is not so, the key is not used.

A token that is away, or logged out, shows an empty list of objects like one in which a key was destroyed. So beside the
keys there is a *witness*, an object that is never destroyed: only where it is seen does a missing key count as
destroyed. Two processes that make a key at once may make two; all keys of a name open, and all are destroyed.

**Finality:** a token's own history brings keys back. SoftHSM's is its folder: a copy from before, put back, opens all
that was destroyed since (`tests/storage/test_finality.py` does it); an HSM's are its backup tokens and cluster
members. How long they last only the operator knows, so finality reads "unknown" unless it is stated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, unquote

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import GeneralError, PinIncorrect, PinLocked, PKCS11Error, UserAlreadyLoggedIn
from pkcs11.mechanisms import GCMParams

from storage.errors import Erased, Malformed, Tampered, Unavailable, WrongProvider
from storage.providers.bounded import BoundedThread
from storage.providers.options import check_name, read_file_option, read_options
from storage.providers.secretfile import SecretFile

ANSWER_S = 10.0
"""For one operation. A network HSM that makes a key takes well under a second; a library has no limit of its own."""
CONNECT_AGAIN_S = 1.0
"""Between two attempts to find the token again: each one starts the library anew."""
_OPENS_MAX = 4
_OPEN_AGAIN_S = 0.05
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_BITS = 256
_WITNESS = "callvault witness"  # with a space: no key has this name
_FORM = "pkcs11:token=NAME[;serial=…]?module-path=/lib.so&pin-file=/file[&finality=…&region=…]"
_USES = MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
_SEALED = {
    Attribute.EXTRACTABLE: False,
    Attribute.SENSITIVE: True,
    Attribute.PRIVATE: True,
    Attribute.COPYABLE: False,
    Attribute.MODIFIABLE: False,
}
_READ_BACK = {Attribute.EXTRACTABLE: False, Attribute.SENSITIVE: True}
_NEVER_OUT = {Attribute.NEVER_EXTRACTABLE: True, Attribute.ALWAYS_SENSITIVE: True, Attribute.LOCAL: True}

Answer = TypeVar("Answer")


def from_url(parts: SplitResult, data_folder: Path) -> Pkcs11Provider:
    """The provider of an RFC 7512 URI; neither library nor token is touched yet."""
    options = read_options(parts.query, _FORM, ("module-path", "pin-file", "pin-source"))
    named = dict(part.partition("=")[::2] for part in parts.path.split(";"))
    if parts.netloc or not named.get("token") or named.keys() - {"token", "serial"}:
        raise Malformed(f"a PKCS#11 token is written {_FORM}")
    if ("pin-file" in options) == ("pin-source" in options):
        raise Malformed(f"say in pin-file= which file has the PIN, and never the PIN itself: {_FORM}")
    pins = {"pin-file": options.get("pin-file") or options["pin-source"].removeprefix("file://").removeprefix("file:")}
    return Pkcs11Provider(
        read_file_option(options, "module-path", _FORM),
        unquote(named["token"]),
        SecretFile(read_file_option(pins, "pin-file", _FORM), "PIN"),
        serial=unquote(named.get("serial", "")),
        finality=options.get("finality", "unknown"),
        region=options.get("region", ""),
    )


class _Library:
    """One PKCS#11 library in this process, which knows no instances: all its tokens begin anew together."""

    def __init__(self, path: Path) -> None:
        self.thread = BoundedThread(f"pkcs11 {path.name}")
        self.starts = 0
        self._path = str(path)
        self._started_at = -CONNECT_AGAIN_S

    def token(self, label: str, serial: bytes, of: int) -> Any:
        """A token found anew; unless somebody has done so since start `of`, the library is started again for it."""
        if of == self.starts:
            if time.monotonic() - self._started_at < CONNECT_AGAIN_S:
                raise Unavailable(f"the PKCS#11 token {label} is away; it is looked for again in a moment")
            self._started_at = time.monotonic()
            library = pkcs11.lib(self._path)
            if self.starts:
                library.reinitialize()
            self.starts += 1
        wanted = {"token_label": label} | ({"token_serial": serial} if serial else {})
        return pkcs11.lib(self._path).get_token(**wanted)


_LIBRARIES: dict[Path, _Library] = {}


@dataclass(slots=True)
class _Session:
    """A session that is logged in, and the start of the library that it belongs to."""

    real: Any
    start: int


class Pkcs11Provider:
    """Wraps with AES-256-GCM inside the token. Thread-safe: the library's calls run one after the other."""

    non_extractable = True

    def __init__(
        self,
        module: Path,
        token: str,
        pin: SecretFile,
        *,
        serial: str = "",
        finality: str = "unknown",
        region: str = "",
        answer_s: float = ANSWER_S,
    ) -> None:
        self.finality = finality
        self.region = region
        self._library = _LIBRARIES.setdefault(module, _Library(module))
        self._label = token
        self._serial = serial.encode()
        self._pin = pin
        self._answer_s = answer_s
        self._session: _Session | None = None
        self._start = 0  # of the library, in which the token was last looked for
        self._refused: object = None  # the state of a PIN's file that the token refused: it is not tried twice

    def behind(self, name: str) -> Self:
        """This one."""
        return self

    def clock(self) -> None:
        """It has none."""

    def create(self, name: str) -> None:
        """Makes a key, and the witness before the first one; Unavailable if the token would give the key out."""
        check_name(name)

        def make(session: Any) -> None:
            if not _objects(session, _WITNESS):
                _generate(session, _WITNESS)
            if not _keys(session, name):
                _generate(session, name)
                if not _keys(session, name):
                    raise Unavailable(f"the token has made key {name}, and does not show it")

        self._ask(make)

    def wrap(self, name: str, plaintext: bytes, aad: bytes) -> bytes:
        """Nonce, ciphertext and tag."""
        check_name(name)
        nonce = os.urandom(_NONCE_BYTES)

        def seal(session: Any) -> bytes:
            key = self._present(session, name)[0]
            return nonce + bytes(key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, aad)))

        return self._ask(seal)

    def unwrap(self, name: str, wrapped: bytes, aad: bytes) -> bytes:
        """The plaintext; Erased if the token has no such key, Tampered if it does not fit."""
        check_name(name)

        def open_(session: Any) -> bytes:
            keys = self._present(session, name)
            if len(wrapped) < _NONCE_BYTES + _TAG_BYTES:
                raise Tampered(f"too short to have been wrapped by key {name}")
            for key in keys:
                try:
                    return _decrypt(key, wrapped, aad)
                except PKCS11Error:
                    # Tokens have no common word for a wrong tag; so the key shows that it works before it is believed.
                    _try(key)
            raise Tampered(f"not wrapped by key {name} for this use")

        return self._ask(open_)

    def destroy(self, name: str) -> str:
        """Destroys every key of that name, then looks for them again."""
        check_name(name)

        def end(session: Any) -> str:
            found = _objects(session, name)
            for key in found:
                key.destroy()
            if _objects(session, name):
                raise Unavailable(f"the token says that it destroyed key {name}, and still shows it")
            self._witnessed(session)
            return "pkcs11: destroyed, none found again" if found else "pkcs11: no such key"

        return self._ask(end)

    def exists(self, name: str) -> bool:
        """Whether the token has the key."""
        check_name(name)

        def look(session: Any) -> bool:
            if _objects(session, name):
                return True
            self._witnessed(session)
            return False

        return self._ask(look)

    def check(self) -> None:
        """Tries that the token is there, takes the PIN, has AES-GCM, and that the witness, if it is made, works."""

        def look(session: Any) -> None:
            mechanisms = session.token.slot.get_mechanisms()
            if not {Mechanism.AES_GCM, Mechanism.AES_KEY_GEN} <= set(mechanisms):
                raise Unavailable(f"the PKCS#11 token {self._label} has no AES-GCM: use another token or firmware")
            for witness in _keys(session, _WITNESS):
                _try(witness)

        self._ask(look)

    def _present(self, session: Any, name: str) -> list[Any]:
        """The keys of that name; Erased if there are none, and the witness shows that this would be seen."""
        if keys := _keys(session, name):
            return keys
        self._witnessed(session)
        raise Erased(f"the token has no key {name}")

    def _witnessed(self, session: Any) -> None:
        if not _objects(session, _WITNESS):
            raise WrongProvider(f"the PKCS#11 token {self._label} has none of our keys: is it the right one?")

    def _ask(self, act: Callable[[Any], Answer]) -> Answer:
        return self._library.thread.ask(lambda: self._acted(act), self._answer_s)

    def _acted(self, act: Callable[[Any], Answer]) -> Answer:
        """Once, and once more with a new session where the first may have been at fault. On the library's thread."""
        try:
            session = self._session
            if session is not None and session.start == self._library.starts:
                try:
                    session.real.generate_random(64)  # a dead session fails here, where nothing is left half done
                    return act(session.real)
                except (PKCS11Error, WrongProvider):
                    pass
            self._session = self._connect()
            return act(self._session.real)
        except PKCS11Error as error:
            self._session = None
            raise Unavailable(f"the PKCS#11 token {self._label} is away: {type(error).__name__}") from error
        except (RuntimeError, OSError, ValueError) as error:  # the library cannot be loaded
            raise Unavailable("the PKCS#11 library cannot be used: check module-path") from error

    def _connect(self) -> _Session:
        """A session as the token's user. A PIN that was refused once is not tried again: tokens lock after a few."""
        state, pin = self._pin.stamped()
        if state == self._refused:
            raise Unavailable(f"the PKCS#11 token {self._label} refuses the PIN: correct its file")
        try:
            token = self._library.token(self._label, self._serial, self._start)
        finally:
            self._start = self._library.starts
        self._serial = self._serial or bytes(token.serial)  # as long as we live it is this one and no other
        try:
            session = _opened(token, pin)
        except UserAlreadyLoggedIn:  # by another session of this process; that holds for all of them
            session = token.open(rw=True)
        except (PinIncorrect, PinLocked):
            self._refused = state
            raise
        return _Session(session, self._library.starts)


def _opened(token: Any, pin: str) -> Any:
    """A session; SoftHSM fails to open one now and then while another process opens its own."""
    for _ in range(_OPENS_MAX - 1):
        try:
            return token.open(rw=True, user_pin=pin)
        except GeneralError:
            time.sleep(_OPEN_AGAIN_S)
    return token.open(rw=True, user_pin=pin)


def _objects(session: Any, label: str) -> list[Any]:
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label, Attribute.TOKEN: True}
    return list(session.get_objects(wanted))


def _keys(session: Any, label: str) -> list[Any]:
    """Those of a name; Unavailable if one of them could be read out."""
    found = _objects(session, label)
    for key in found:
        if any(key[attribute] is not value for attribute, value in (_READ_BACK | _NEVER_OUT).items()):
            raise Unavailable(f"key {label} can be read out of the token, or was brought into it: it is not used")
    return found


def _generate(session: Any, label: str) -> None:
    session.generate_key(
        KeyType.AES, _KEY_BITS, id=os.urandom(8), label=label, store=True, capabilities=_USES, template=_SEALED
    )


def _gcm(nonce: bytes, aad: bytes) -> GCMParams:
    return GCMParams(nonce, aad, 8 * _TAG_BYTES)


def _decrypt(key: Any, wrapped: bytes, aad: bytes) -> bytes:
    nonce, rest = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
    return bytes(key.decrypt(rest, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, aad)))


def _try(key: Any) -> None:
    """Seals and opens something; PKCS11Error if that fails."""
    nonce, text = os.urandom(_NONCE_BYTES), b"works"
    sealed = nonce + bytes(key.encrypt(text, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, b"")))
    if _decrypt(key, sealed, b"") != text:
        raise PKCS11Error
