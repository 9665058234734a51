"""The proof: one call tried by every path, and a living call of the same backup, which must open by the same code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from storage.backup.layout import CATALOGUE, SPOOL
from storage.errors import NotFound
from storage.model import ArtefactState, CallId, CallState
from storage.objects import open_store
from storage.probe.climbing import Climb
from storage.probe.contents import Contents
from storage.probe.remains import Remains, gather, gather_database, gather_server
from storage.providers import open_provider
from storage.records import Identifier
from storage.witness import Batches

_ALIVE = (ArtefactState.WRITING.value, ArtefactState.COMPLETE.value)


@dataclass(frozen=True, slots=True)
class Today:
    """The store as it is now."""

    data_folder: Path
    provider_url: str
    objects_url: str
    witness_url: str
    catalogue_url: str = ""  # of a server; "": the catalogue is in the folder
    tenant_keys: tuple[str, ...] = ()  # the providers of tenants that have their own


@dataclass(slots=True)
class Proof:
    """What was tried, and what came of it."""

    call: CallId
    tried: dict[str, int] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)  # of the call: empty is the proof
    found: dict[str, int] = field(default_factory=dict)  # databases, rows of batches, rows carved from raw bytes
    control: CallId | None = None  # a living call that is in a backup as well
    control_opened: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Nothing of the call opens, and the control does, if there is one."""
        return not self.opened and (self.control is None or bool(self.control_opened))

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{count} {what}" for what, count in sorted(self.found.items())]
        told = [f"looked at: {', '.join(told)}"]
        told += [f"tried: {', '.join(f'{count} times {what}' for what, count in sorted(self.tried.items()))}"]
        if self.control is None:
            told.append("control: no call of the backups is alive today, so nothing shows that this probe can open any")
        elif self.control_opened:
            told.append(f"control: of call {self.control}, which lives, open by the same code:")
            told += [f"    {line}" for line in self.control_opened]
        else:
            told.append(f"control: call {self.control} lives and does not open: this proves nothing")
        told += [f"OPENED: {line}" for line in self.opened]
        if self.opened:
            told.append(f"call {self.call} can be had")
        elif self.holds:
            told.append(f"nothing of call {self.call} opens")
        return told


def prove(
    call: CallId,
    backups: Sequence[Path],
    today: Today | None,
    *,
    provider_url: str = "",
    databases: Sequence[str] = (),
    identifiers: Sequence[Identifier] = (),
    tell: Callable[[str], None] = lambda _line: None,
) -> Proof:
    """Tries to open a call from these backups (or copies of data folders) together with the store of today.

    NotFound if none of them knows the call: then nothing is proved. Unavailable if provider or files are away.
    `databases` are catalogues on servers that were brought back from before, as copies of data folders lack them.
    Without `today` only the provider of `provider_url` is asked: what an old copy alone opens.
    """
    remains = Remains()
    with ExitStack() as stack:
        batches = gather(backups, remains, stack)
        for url in databases:
            gather_server(url, remains, stack)
        before = {row["id"] for row in remains.of("calls")}
        if call not in before:
            raise NotFound(f"no backup that was named has call {call}: nothing is proved")
        alive = _gather_today(today, remains, batches, stack) if today is not None else before
        remains.add_batches(batches)
        tenant = next(row["tenant"] for row in remains.of("calls") if row["id"] == call)
        folder = today.data_folder if today is not None else backups[0]
        urls = (today.provider_url, *today.tenant_keys) if today is not None else (provider_url,)
        providers = [open_provider(url, folder) for url in dict.fromkeys(urls)]
        control = _control(remains, call, str(tenant), (before & alive) - {call})
        of_call, of_control = _artefacts(remains, call), _artefacts(remains, control) if control else set()
        tell("files")
        remains.carve(str(tenant), of_call | of_control)
        tell("keys")
        climb, contents = Climb(providers, remains, str(tenant)), Contents(remains)
        climb.begin()
        proof = Proof(call, control=control)
        proof.opened = _opened(climb, contents, of_call, identifiers)
        if control is not None:
            proof.control_opened = _opened(climb, contents, of_control, ())
        proof.tried = dict(climb.tried + contents.tried)
        proof.found = dict(remains.found)
    return proof


def _gather_today(today: Today, remains: Remains, batches: list[Batches], stack: ExitStack) -> set[str]:
    """Adds today's store; gives the calls that live in it."""
    here = Remains()
    if today.catalogue_url:
        gather_server(today.catalogue_url, here, stack)
    else:
        gather_database(today.data_folder / CATALOGUE, here, stack)
    for table in here.rows:
        remains.add(table, here.of(table))
    remains.files += here.files
    remains.keys_entries += here.keys_entries
    remains.found += here.found
    remains.spools.append(today.data_folder / SPOOL)
    remains.objects.append(open_store(today.objects_url))
    batches.append(Batches(open_store(today.witness_url)))
    erased = {row["id"] for row in here.of("calls") if row["state"] == CallState.ERASED.value}
    return {row["id"] for row in here.of("calls")} - erased


def _control(remains: Remains, call: str, tenant: str, living: set[str]) -> CallId | None:
    """A living call of the same tenant that has something to open; of the same day, if there is one."""
    days = {row["id"]: row["day"] for row in remains.of("calls") if row["tenant"] == tenant}
    full = {row["artefact"] for row in remains.of("documents")} | {row["artefact"] for row in remains.of("slices")}
    gone = {row["id"] for row in remains.of("artefacts") if row["state"] not in _ALIVE}
    there = {
        row["call"]
        for row in remains.of("artefacts")
        if row["call"] in living and row["tenant"] == tenant and row["id"] in full - gone
    }
    found = sorted(there, key=lambda other: (days.get(other) != days.get(call), other))
    return CallId(found[0]) if found else None


def _artefacts(remains: Remains, call: str) -> set[str]:
    return {row["id"] for row in remains.of("artefacts") if row["call"] == call}


def _opened(climb: Climb, contents: Contents, wanted: set[str], identifiers: Sequence[Identifier]) -> list[str]:
    found = climb.artefact_keys(wanted)
    opened = {f"{ref.kind.value} {ref.artefact}: key" for ref in found}
    opened |= contents.open(wanted, found, climb.keys)
    return sorted(opened | contents.told(wanted, identifiers, climb.keys))
