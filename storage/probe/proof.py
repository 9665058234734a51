"""One proof: a claim that something is erased, and its control, which must open by the same code."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import NotFound, StoreError, Unavailable
from storage.installation import PROVIDER_KEY
from storage.model import CallId, Secret, is_id
from storage.objects import open_store
from storage.probe.claims import Asked, Claim, claim_of, except_living, select_claimed, select_control
from storage.probe.climbing import Climb
from storage.probe.contents import Contents
from storage.probe.loading import load, look_at_bytes
from storage.probe.remains import CLAIMED, CONTROL, Remains
from storage.probe.report import Proof
from storage.probe.sources import Sources, State, add_backups, add_folder, add_server, add_today, read_batches
from storage.providers import KeyProvider, open_provider
from storage.records import Identifier
from storage.signing import Signer
from storage.times import utc


@dataclass(frozen=True, slots=True)
class Today:
    """The store as it is now."""

    data_folder: Path
    provider_url: str
    objects_url: str
    witness_url: str
    catalogue_url: str = ""  # of a server; "": the catalogue is in the folder
    tenant_keys: tuple[str, ...] = ()  # the providers of tenants that have their own


def prove(
    what: CallId | Asked,
    backups: Sequence[Path],
    today: Today | None,
    *,
    provider_url: str = "",
    databases: Sequence[str] = (),
    files: Sequence[Path] = (),
    objects: Sequence[str] = (),
    identifiers: Sequence[Identifier] = (),
    tell: Callable[[str], None] = lambda _line: None,
) -> Proof:
    """Tries to open what was erased from these backups (or copies of data folders) and the store of today together.

    NotFound if none of them has anything of it: then nothing is proved. Unavailable if provider or files are away.
    `databases` are catalogues on servers that were brought back from before, as copies of data folders lack them;
    `files` are folders whose bytes are carved (a server's data directory and archived log, dumps) and searched for the
    `identifiers` in clear (logs, a queue's files); `objects` are further object stores, such as replicas.
    Without `today` only the provider of `provider_url` is asked: what an old copy alone opens.
    """
    began = time.monotonic()
    asked = what if isinstance(what, Asked) else Asked(call=what)
    sources = Sources()
    with ExitStack() as stack:
        remains = Remains(stack)
        _gather(remains, sources, backups, today, databases, files, objects)
        folder = today.data_folder if today is not None else backups[0]
        urls = (today.provider_url, *today.tenant_keys) if today is not None else (provider_url,)
        providers = [open_provider(url, folder) for url in dict.fromkeys(urls)]
        in_clear = look_at_bytes(remains, sources, identifiers, tell)
        claim, control = _claim(asked, remains, sources, providers, with_today=today is not None)
        tenants = sorted({claim.tenant, *_tenants_of(remains, sources.states)})
        load(remains, sources.states, tenants, tell)
        for witness in sources.witnesses:
            tell("key batches")
            remains.found["rows of batches"] += read_batches(witness, remains, tenants)
        remains.settle_raw(tenants)
        remains.settle_leaves()
        proof = Proof(claim.call, claim.words, claim.tenant, claim.target.facts(), claim.erasure, claim.artefacts)
        proof.excepted, proof.identifiers = claim.excepted, len(identifiers)
        proof.control, proof.control_is = control
        _try(proof, remains, providers, identifiers, tell)
        proof.opened = sorted({*proof.opened, *in_clear})
        proof.found, proof.sources = dict(+remains.found), sources.told
        proof.took_s = int(time.monotonic() - began)
        if today is not None:
            state = next(state for state in sources.states if state.today)
            head, secret = _head(remains, state), _secrets(remains, state, providers, "ledger")
            proof.report = proof.sign(Signer(Secret(secret[0])), utc(time.time()), head)
    return proof


def _gather(
    remains: Remains,
    sources: Sources,
    backups: Sequence[Path],
    today: Today | None,
    databases: Sequence[str],
    files: Sequence[Path],
    objects: Sequence[str],
) -> None:
    add_backups(backups, remains, sources)
    for number, url in enumerate(databases):
        add_server(url, f"database {number + 1}", remains, sources)
        sources.told.append({"what": "database", "name": str(number + 1)})
    for folder in files:
        add_folder(folder, remains, sources)
    remains.objects += [open_store(url) for url in objects]
    if today is not None:
        add_today(today.data_folder, today.catalogue_url, remains, sources)
        remains.objects.append(open_store(today.objects_url))
        sources.witnesses.append(open_store(today.witness_url))


def _claim(
    asked: Asked, remains: Remains, sources: Sources, providers: Sequence[KeyProvider], *, with_today: bool
) -> tuple[Claim, tuple[CallId | None, str]]:
    states = sources.states
    tenant = _tenant(asked.tenant, remains, states, providers) if asked.tenant else ""
    claim = claim_of(asked, tenant, remains, states)
    if claim.call is not None and not claim.erasure:
        _check_known(remains, sources, claim)
    select_claimed(claim, remains, states)
    before = [state for state in states if not state.today]
    now = next((state for state in states if state.today), None)
    if now is not None:
        except_living(claim, remains, now)
    elif not with_today and states:
        now = states[-1]
    if now is None:
        return claim, (None, "")
    return claim, select_control(claim, remains, before or [now], now)


def _check_known(remains: Remains, sources: Sources, claim: Claim) -> None:
    """NotFound unless something from before has the call: today's store alone proves nothing."""
    for state in sources.states:
        if not state.today:
            with remains.attached(state.uri) as sql:
                if sql.execute("SELECT 1 FROM src.calls WHERE id = ?", (claim.call,)).fetchone() is not None:
                    return
    if not remains.number("SELECT count(*) FROM raw_artefacts WHERE call = ?", (claim.call,)):
        raise NotFound(f"no backup that was named has call {claim.call}: nothing is proved")


def _try(
    proof: Proof,
    remains: Remains,
    providers: Sequence[KeyProvider],
    identifiers: Sequence[Identifier],
    tell: Callable[[str], None],
) -> None:
    climb, contents = Climb(providers, remains, proof.tenant, tell), Contents(remains, tell)
    climb.begin()
    proof.opened = _opened(climb, contents, CLAIMED)
    proof.opened += sorted(contents.told(identifiers, climb.keys))
    climbs = [climb]
    if proof.control is not None:
        row = remains.sql.execute(
            "SELECT a.tenant FROM wanted w JOIN artefacts a ON a.id = w.id WHERE w.part = ?", (CONTROL,)
        ).fetchone()
        if row is not None and row["tenant"] != proof.tenant:  # of its own tenant nothing lives
            climb = Climb(providers, remains, row["tenant"], tell)
            climb.begin()
        shown = Contents(remains, tell)
        proof.control_opened = _opened(climb, shown, CONTROL)
        proof.carved_control = climb.carved_keys(CONTROL)
    for name in ("tried", "rows", "crosswise"):
        total = sum((getattr(one, name) for one in (*climbs, contents)), Counter[str]())
        setattr(proof, name, dict(total))
    proof.unlocked = dict(climbs[0].opened)


def _opened(climb: Climb, contents: Contents, part: str) -> list[str]:
    found = climb.artefact_keys(part)
    opened = {f"{ref.kind.value} {ref.artefact}: key" for ref in found}
    return sorted(opened | contents.open(part, found, climb.keys))


def _tenants_of(remains: Remains, states: Sequence[State]) -> set[str]:
    """The tenants of what is wanted."""
    found: set[str] = set()
    for state in states:
        with remains.attached(state.uri) as sql:
            query = "SELECT DISTINCT tenant FROM src.artefacts WHERE id IN (SELECT id FROM main.wanted)"
            found |= {row["tenant"] for row in sql.execute(query)}
    return found


def _tenant(name: str, remains: Remains, states: Sequence[State], providers: Sequence[KeyProvider]) -> str:
    """The id of a tenant, by its id or by its name, also where only a copy from before has the tag of its name."""
    for state in states:
        secrets = _secrets(remains, state, providers, "tags")
        tags = [hmac.digest(secret, name.encode(), hashlib.sha256) for secret in secrets]
        with remains.attached(state.uri) as sql:
            for tag in tags:
                row = sql.execute("SELECT id FROM src.tenants WHERE tag = ?", (tag,)).fetchone()
                if row is not None:
                    return str(row["id"])
            if is_id(name) and sql.execute("SELECT 1 FROM src.tenants WHERE id = ?", (name,)).fetchone():
                return name
    raise NotFound("no tenant of that name or id is known here: nothing is proved")


def _secrets(remains: Remains, state: State, providers: Sequence[KeyProvider], name: str) -> list[bytes]:
    """The installation's secret of that name as this state has it. Unavailable if no provider opens it."""
    with remains.attached(state.uri) as sql:
        row = sql.execute("SELECT wrapped FROM src.installation WHERE name = ?", (name,)).fetchone()
    refused: StoreError | None = None
    for provider in providers if row is not None else ():
        try:
            return [provider.unwrap(PROVIDER_KEY, row["wrapped"], b"callvault installation v1 " + name.encode())]
        except StoreError as error:
            refused = error
    raise Unavailable("the key provider does not open the installation's secrets: is it the right one?") from refused


def _head(remains: Remains, state: State) -> dict[str, Any]:
    with remains.attached(state.uri) as sql:
        row = sql.execute("SELECT seq, hash FROM src.ledger ORDER BY seq DESC LIMIT 1").fetchone()
    return {"seq": row["seq"], "hash": row["hash"]} if row is not None else {}
