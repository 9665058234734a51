"""What the probe tells: lines for an officer, and a signed report that anybody can verify offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from storage.chain import Entry, Keys
from storage.errors import Malformed, WrongKey
from storage.model import CallId
from storage.signing import Signer, canonical, fingerprint_of, verify_signature

FORMAT = "callvault probe report v1"
_LABEL = "callvault probe report v1"
_MEMBERS = {
    "format", "at", "of", "tenant", "target", "erasure", "artefacts", "excepted", "looked_at", "sources", "paths",
    "identifiers", "opened", "control", "holds", "ledger", "took_s", "public_key", "signature",
}  # fmt: skip

PATHS: Mapping[str, str] = {
    "provider keys": "names of keys that the key provider was asked for",
    "epoch secrets": "epoch secrets, with every key that the provider still has",
    "installation secrets": "the installation's own secrets, which are never destroyed",
    "buckets": "bucket keys, with every secret",
    "nodes": "keys of nodes and leaves, with every key above",
    "artefact keys": "wrapped artefact keys, with every key",
    "documents": "sealed documents (identity, call detail, transcripts, facts; those in manifests too)",
    "objects": "sealed audio, in every version that a store keeps",
    "time indexes": "sealed time indexes of audio",
    "spool records": "sealed records of the spool",
    "identifiers": "sealed numbers and addresses",
    "tags": "search tags, against the numbers that were named",
}
"""Each path to something of what was erased, from the top down."""


@dataclass(slots=True)
class Proof:
    """What was tried, and what came of it."""

    call: CallId | None
    of: str = ""  # in words: what is claimed to be erased
    tenant: str = ""
    target: dict[str, Any] = field(default_factory=dict)
    erasure: str = ""
    artefacts: int = 0  # that are claimed to be dead
    excepted: dict[str, int] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # that these tries were on
    crosswise: dict[str, int] = field(default_factory=dict)  # on how many of them every key was tried
    unlocked: dict[str, int] = field(default_factory=dict)  # by path: of everything, what lives included
    identifiers: int = 0
    opened: list[str] = field(default_factory=list)  # of what was erased: empty is the proof
    found: dict[str, int] = field(default_factory=dict)  # databases, rows of batches, rows carved from raw bytes
    sources: list[dict[str, Any]] = field(default_factory=list)
    control: CallId | None = None  # a living call that is in a backup as well
    control_is: str = ""  # where it lives
    control_opened: list[str] = field(default_factory=list)
    carved_control: int = 0  # artefacts of it whose keys open from raw bytes alone
    took_s: int = 0
    report: dict[str, Any] = field(default_factory=dict)  # signed; empty without a store of today

    @property
    def holds(self) -> bool:
        """Nothing of it opens, and the control does, if there is one."""
        return not self.opened and (self.control is None or bool(self.control_opened))

    def lines(self) -> list[str]:
        """For people."""
        told = [f"asked: {self.of}, {self.artefacts} artefacts"]
        told += [f"excepted: {count} {what}" for what, count in sorted(self.excepted.items())]
        told += [f"from: {_source(source)}" for source in self.sources]
        found = [f"{count} {what}" for what, count in sorted(self.found.items())]
        told.append(f"looked at: {', '.join(found)}")
        for path, words in PATHS.items():
            if path in self.tried:
                told.append(f"tried: {self._path(path)}: {words}")
        told += self._control_lines()
        told += [f"OPENED: {line}" for line in self.opened]
        if self.opened:
            told.append(f"{self.of} can be had")
        elif self.holds:
            told.append(f"nothing of {self.of} opens")
        return told

    def _path(self, path: str) -> str:
        rows = self.rows.get(path)
        told = f"{self.tried[path]} times {path}"
        if rows is not None:
            told += f", {rows} rows"
            if path in self.crosswise and self.crosswise[path] < rows:
                told += f" (every key on {self.crosswise[path]} of them, on the others those of their path)"
        return told

    def _control_lines(self) -> list[str]:
        if self.control is None:
            return ["control: no call of the backups is alive today, so nothing shows that this probe can open any"]
        if not self.control_opened:
            return [f"control: call {self.control} lives and does not open: this proves nothing"]
        told = [f"control: of call {self.control}, which lives {self.control_is}, open by the same code:"]
        told += [f"    {line}" for line in self.control_opened]
        told.append(f"control: from raw bytes alone open keys of {self.carved_control} of its artefacts")
        return told

    def sign(self, signer: Signer, at: str, ledger: Mapping[str, Any]) -> dict[str, Any]:
        """The report: whole numbers, ids and words of the program, no number or name of anybody."""
        statement = {
            "format": FORMAT,
            "at": at,
            "of": self.of,
            "tenant": self.tenant,
            "target": self.target,
            "erasure": self.erasure,
            "artefacts": self.artefacts,
            "excepted": self.excepted,
            "looked_at": self.found,
            "sources": self.sources,
            "paths": {path: self._figures(path) for path in PATHS if path in self.tried},
            "identifiers": self.identifiers,
            "opened": self.opened,
            "control": {
                "call": self.control or "",
                "is": self.control_is,
                "opened": self.control_opened,
                "from_raw_bytes": self.carved_control,
            },
            "holds": self.holds,
            "ledger": dict(ledger),
            "took_s": self.took_s,
            "public_key": signer.public_key,
        }
        return {**statement, "signature": signer.sign(_LABEL, canonical(statement))}

    def _figures(self, path: str) -> dict[str, int]:
        figures = {"tries": self.tried[path], "opened": self.unlocked.get(path, 0)}
        for name, counts in (("rows", self.rows), ("rows_with_every_key", self.crosswise)):
            if path in counts:
                figures[name] = counts[path]
        return figures


def is_report(document: Mapping[str, Any]) -> bool:
    """Whether a document says that it is one."""
    return document.get("format") == FORMAT


def verify_report(document: Mapping[str, Any], fingerprint: str, key_changes: Sequence[Entry] = ()) -> list[str]:
    """Checks a report against the pinned fingerprint with nothing but itself; gives what it says, in words.

    With the ledger's `key_changes` the fingerprint may be that of any key in their chain. Malformed: no report.
    WrongKey: signed by another installation. Tampered: something was changed.
    """
    if set(document) != _MEMBERS or not is_report(document):
        raise Malformed("not a report of the probe of a version that is known here")
    statement = {name: value for name, value in document.items() if name != "signature"}
    public_key = str(document["public_key"])
    keys = Keys.of(key_changes, public_key)
    if not keys.includes(fingerprint_of(public_key)) or not keys.includes(fingerprint.strip().lower()):
        raise WrongKey("the report is signed by another key than the pinned one")
    verify_signature(public_key, _LABEL, canonical(statement), document["signature"])
    try:
        return _findings(document)
    except (LookupError, TypeError, AttributeError):  # it is signed, and yet says something else
        raise Malformed("a report of the probe says what was tried, and what came of it") from None


def _findings(report: Mapping[str, Any]) -> list[str]:
    told = [f"{report['of']}: {report['artefacts']} artefacts, probed at {report['at']} in {report['took_s']} s"]
    told += [f"excepted: {count} {what}" for what, count in sorted(report["excepted"].items())]
    told += [f"from: {_source(source)}" for source in report["sources"]]
    told += [f"tried: {figures['tries']} times {path}: {PATHS[path]}" for path, figures in report["paths"].items()]
    control = report["control"]
    if control["call"]:
        told.append(
            f"control: of call {control['call']}, which lives {control['is']}, {len(control['opened'])} things open"
        )
    else:
        told.append("control: none, so nothing shows that the probe can open any call")
    told += [f"OPENED: {line}" for line in report["opened"]]
    told.append("nothing opens" if report["holds"] else "NOT proved: something opens, or the control does not")
    told.append("no RFC 3161 stamp: the time rests on the operator's word")
    return told


def _source(source: Mapping[str, Any]) -> str:
    made = f", made at {source['made_at']}, ledger entry {source['ledger']}" if "made_at" in source else ""
    files = f", {source['files']} files" if "files" in source else ""
    return f"{source['what']} {source['name']}{made}{files}"
