"""What leaves to a destination is what its sample shows, and nothing is added to that unseen."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.commands.processors import sample_text
from gateway.outside import Destination
from gateway.rights.export import exported
from gateway.rights.fields import DOCUMENTS, known_fields, narrowed, paths_of, synthetic
from gateway.rights.parts import Part, Words
from gateway.rights.sample import plan_of, sample_of
from gateway.rights.share import Matched
from storage.egress import Leaving
from storage.model import TenantId
from storage.recordings import Recordings
from tests.gateway.calls.test_fields import CALL_DETAIL, EMPTY, IDENTITY
from tests.gateway.rights.corpus import ALICE, BERT, plain, session
from tests.storage.stores import ACTOR, GROUND

SAMPLES = Path(__file__).parents[2] / "vectors" / "destinations"
FACTS: dict[str, Any] = {
    **{"company": "Example CRM B.V.", "region": "NL", "retention": "90 days", "dpa": "2026-01-01"},
    **{"encryption": "TLS 1.3", "to": "CRM", "authorised_by": "board", "authorised_on": "2026-01-01"},
}


def made(**settings: Any) -> Destination:
    return Destination.model_validate({**FACTS, **settings})


EVERYTHING = made(
    name="portability",
    parts=list(Part),
    fields={part: sorted(known_fields(part)) for part in DOCUMENTS},
    address="https://telecom.example/deletions",
)
NARROW = made(
    name="crm",
    parts=["detail", "transcript"],
    fields={"detail": ["started", "duration_ms", "recording_session.by"], "transcript": ["turns.text"]},
)
DESTINATIONS = (EVERYTHING, NARROW)


@pytest.mark.parametrize("destination", DESTINATIONS, ids=lambda one: one.name)
def test_sp_16_the_sample_is_the_golden_one(destination: Destination) -> None:
    """After a change that is meant: `python -m tests.gateway.rights.golden` writes them anew."""
    golden = SAMPLES / f"{destination.name}.json"
    assert sample_text(destination) + "\n" == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("destination", DESTINATIONS, ids=lambda one: one.name)
def test_sp_16_a_real_copy_has_no_field_that_its_sample_lacks(
    destination: Destination, tmp_path: Path, store: Recordings, tenant: TenantId
) -> None:
    shown = _paths(sample_of(destination)["files"].items())
    kept = session(tmp_path, store, tenant)
    answered, _ = plain(tmp_path, store, tenant)
    matches = [Matched(kept.call, kept.id_of(ALICE)), Matched(answered, "caller")]
    for words in Words:
        plan = replace(plan_of(destination), tenant=tenant, matches=matches, words=words)
        archive = b"".join(exported(store, plan))
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            sent = _paths(
                (name, json.loads(file.read(name)) if name.endswith(".json") and "manifest" not in name else "…")
                for name in file.namelist()
            )
        assert sent <= shown
        assert ALICE.number.encode() in archive or destination is NARROW
        assert not any(canary in archive for canary in BERT.canaries())


def test_sp_16_a_real_request_to_delete_has_no_field_that_its_sample_lacks(
    tmp_path: Path, store: Recordings, tenant: TenantId
) -> None:
    kept = session(tmp_path, store, tenant, seconds=0.2)
    artefacts = [artefact.ref.artefact for artefact in store.call(tenant, kept.call).artefacts]
    (copy,) = store.egress.record(tenant, [Leaving(kept.call, artefacts)], {"to": "CRM", "ground": "request"})
    store.erase_call(tenant, kept.call, ground=GROUND, actor=ACTOR)
    sent = store.egress.notice(tenant, copy)
    assert sent.keys() == sample_of(EVERYTHING)["request_to_delete"].keys()


def test_sp_16_what_a_destination_may_be_told_of_a_call_is_listed_with_call_detail() -> None:
    """A field that is added to call detail or identity is no destination's until it is argued for in both places."""
    detail = {path.replace("[]", "") for path in CALL_DETAIL | EMPTY}
    assert known_fields(Part.DETAIL) <= detail
    assert {path for path in known_fields(Part.IDENTITY) if "." not in path} <= IDENTITY


def test_only_what_is_declared_stays_at_any_depth() -> None:
    body = {
        "a": 1,
        "b": {"c": 2, "d": {"e": 3}},
        "f": [{"g": 4, "h": 5}, {"h": 6}],
        "i": [[7, "x"]],
        "j": None,
        "k": [],
    }
    assert narrowed(body, ["a", "b.d.e", "f.g", "i", "j"]) == {
        **{"a": 1, "b": {"d": {"e": 3}}, "f": [{"g": 4}]},
        **{"i": [[7, "x"]], "j": None},
    }
    assert narrowed(body, ["b", "f", "b.d", "z"]) == {}  # an object by itself is nothing that can be declared
    assert narrowed(body, []) == {}


def test_a_field_that_comes_later_leaves_for_nobody() -> None:
    for part in DOCUMENTS:
        later = {**synthetic()[part], "later": "x", "deep": {"later": ["x"]}}
        assert set(paths_of(narrowed(later, known_fields(part)))) == known_fields(part)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"parts": ["detail"]}, "which of its fields"),
        ({"parts": ["detail"], "fields": {"detail": []}}, "which of its fields"),
        ({"parts": ["detail"], "fields": {"detail": ["caller"]}}, "has no field caller"),
        ({"parts": ["detail"], "fields": {"detail": ["recording_session"]}}, "has no field"),
        ({"parts": ["audio"], "fields": {"detail": ["started"]}}, "not among the parts"),
        ({"parts": ["audio"], "fields": {"audio": ["x"]}}, "as a whole"),
        ({"parts": ["audio"], "retention": "a while"}, "no term"),
        ({"parts": ["audio"], "company": "Jan, jan@example.com"}, "names no number"),
    ],
)
def test_what_a_destination_gets_is_said_field_by_field(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        made(name="crm", **settings)


def _paths(files: Iterable[tuple[str, Any]]) -> set[str]:
    """Each file's last name with every path in it."""
    found = set()
    for name, body in files:
        file = name.rpartition("/")[2]
        found |= {f"{file}: {path}" for path in paths_of(body)} if isinstance(body, dict) else {file}
    return {path if not path.startswith("manifest") else "manifest.json" for path in found}
