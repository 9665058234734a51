"""What the tests of the probe share: everything of today, and yesterday's keyring as the control of all others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.model import ArtefactId, CallId
from storage.probe import Asked, Proof, Today, prove
from storage.records import NewCall
from tests.storage.stores import catalogue_url


def today_of(root: Path, keys: str = "keys") -> Today:
    """The store in `root`, with its keyring or another one."""
    data = root / "data"
    witness = f"file:{root}/data-witness"
    return Today(data, f"file:{root / keys}", f"file:{data}/objects", witness, catalogue_url(root))


def keep_keys(root: Path) -> None:
    """What the provider forgets, somebody has kept: all must open by it, or the probe looks in the wrong place."""
    shutil.copytree(root / "keys", root / "old")


def probe(root: Path, asked: Asked | CallId, *folders: str, keys: str = "keys", **more: Any) -> Proof:
    """With everything of today, and these backups or copies."""
    return prove(asked, [root / name for name in folders], today_of(root, keys), **more)


def named(proof: Proof) -> set[str]:
    """The artefacts of which something opens."""
    return {line.split()[1].rstrip(":") for line in proof.opened if len(line.split()) > 2}


def ids_of(*calls: NewCall) -> set[ArtefactId]:
    return {artefact.ref.artefact for call in calls for artefact in call.artefacts}


def erasure_of(certificate: Mapping[str, Any]) -> str:
    return str(certificate["entries"][0]["body"]["erasure"])


def assert_dead(root: Path, asked: Asked | CallId, dead: set[ArtefactId], folder: str = "backup") -> Proof:
    """Nothing of what was asked opens, and with yesterday's keys all of it would: these artefacts and no others."""
    proof = probe(root, asked, folder)
    assert proof.opened == []
    assert proof.control is not None and proof.control_opened
    assert proof.holds
    assert proof.artefacts >= len(dead)
    assert named(probe(root, asked, folder, keys="old")) == dead
    return proof
