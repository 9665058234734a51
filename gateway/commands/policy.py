"""`callvault policy`: what tenants promise, what is wrong with it, what a change of it does, and the page about it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.commands.store import complain
from gateway.config import Settings, from_environment
from gateway.errors import ConfigError
from gateway.policy import Tenant
from gateway.processes.opening import open_recordings
from gateway.processors import register
from gateway.promises.effective import policy_of
from gateway.promises.measures import Live
from gateway.promises.page import Facts, version_of
from gateway.promises.page import page as make_page
from gateway.promises.record import FORMATS as RECORD_FORMATS
from gateway.promises.record import live_of
from gateway.promises.record import record as make_record
from gateway.promises.render import FORMATS
from storage.errors import StoreError
from storage.model import Kind
from storage.policy.library import PROFILES, Unusable, find, profile, read_profile
from storage.policy.model import Policy
from storage.policy.overrides import TENANT, Difference, changed_lines, differences, lines_of
from storage.policy.reading import as_json
from storage.policy.table import MATTERS
from storage.recordings import Recordings


def show(arguments: argparse.Namespace) -> int:
    """Show the policies of the configuration's tenants, or the profiles."""
    if arguments.profiles:
        return _show_profiles(as_object=arguments.json)

    def run(settings: Settings) -> int:
        found = {tenant.name: policy_of(tenant) for tenant in _wanted(settings, arguments.tenant)}
        if arguments.json:
            _print(json.dumps({name: as_json(policy) for name, policy in found.items()}, indent=2))
            return 0
        for name, policy in found.items():
            _print(f"{name}: {policy.title}, counted in {policy.zone}, version {version_of(policy)[:12]}")
            for line in _lines(policy):
                _print(f"    {line}")
        return 0

    return _configured(arguments, run)


def check(arguments: argparse.Namespace) -> int:
    """Say whether a profile, or every tenant's policy, can be used."""
    if arguments.file is not None:
        try:
            found = read_profile(arguments.file)
        except Unusable as error:
            return complain(ConfigError(list(error.problems)))
        _print(f"profile {found.name} can be used")
        return 0

    def run(settings: Settings) -> int:
        for tenant in settings.tenants:
            flagged = [kind.value for kind in Kind if policy_of(tenant).rule(kind, tenant.purpose).term.open]
            note = f"; without a time limit: {', '.join(flagged)}" if flagged else ""
            _print(f"tenant {tenant.name}: its policy can be used{note}")
        return 0

    return _configured(arguments, run)


def diff(arguments: argparse.Namespace) -> int:
    """Compare two policies; exit 0 if nothing differs, else 1."""

    def run(settings: Settings) -> int:
        tenant = _tenant(settings, arguments.before if arguments.after is None else arguments.after)
        if arguments.after is None:
            if tenant is None:
                raise ConfigError([f"tenant {arguments.before!r} is not in the configuration; compare with what?"])
            before = _stored(settings, tenant)
        else:
            before = _named(settings, arguments.before)
        after = policy_of(tenant) if tenant is not None else _named(settings, arguments.after)
        ends = None if tenant is None else _ends_at_once(settings, tenant, after)
        return _tell(before, after, ends, as_object=arguments.json)

    return _configured(arguments, run)


def page(arguments: argparse.Namespace) -> int:
    """Print the page of a tenant: of the policy that the store has in effect, where there is one."""

    def run(settings: Settings) -> int:
        (tenant,) = _wanted(settings, arguments.tenant)
        running, configured = _stored(settings, tenant), policy_of(tenant)
        if running != configured:
            sys.stderr.write(
                "callvault: the configuration has another policy, which takes effect with the next reload\n"
            )
        text = FORMATS[arguments.format](
            make_page(running, Facts.of(tenant, register(settings, tenant)), arguments.lang)
        )
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            arguments.output.write_text(text, encoding="utf-8")
        return 0

    return _configured(arguments, run)


def record(arguments: argparse.Namespace) -> int:
    """Print the record of processing of a tenant; exit 1 where the configuration lacks what Art. 30 asks for."""

    def run(settings: Settings) -> int:
        (tenant,) = _wanted(settings, arguments.tenant)
        found = make_record(_live(settings, tenant), arguments.lang)
        text = RECORD_FORMATS[arguments.format](found)
        if arguments.output is None:
            sys.stdout.write(text)
        else:
            arguments.output.write_text(text, encoding="utf-8")
        for gap in found.gaps:
            sys.stderr.write(f"callvault: Art. 30 GDPR asks for: {gap}\n")
        return 1 if found.gaps else 0

    return _configured(arguments, run)


def _live(settings: Settings, tenant: Tenant) -> Live:
    """What is in effect by the store, where there is one: its policy, and when backups were made."""
    if not _has_store(settings):
        return Live(settings, tenant, policy_of(tenant))
    with _opened(settings) as recordings:
        return live_of(recordings, settings, tenant)


def _lines(policy: Policy) -> list[str]:
    """A line for each kind, more where purposes differ; then the rest, a line each."""
    rows = []
    for kind in Kind:
        rules: dict[str, list[str]] = {}
        for purpose in policy.purposes.allowed:
            rule = policy.rule(kind, purpose)
            source = f"its own: {rule.reason}" if rule.source == TENANT and rule.reason else rule.source
            least = f", at least, by {rule.law}" if policy.holds_least(kind) else ""
            flag = "; no time limit" if rule.term.open else ""
            rules.setdefault(f"{rule.term}{least}{flag}  # {source}", []).append(purpose)
        for text, purposes in rules.items():
            named = "*" if len(purposes) == len(policy.purposes.allowed) else ",".join(purposes)
            rows.append(f"{kind.value}/{named} = {text}")
    return rows + [f"{name} = {told or 'none'}" for name, told in lines_of(policy).items() if name != "zone"]


def _show_profiles(*, as_object: bool) -> int:
    if as_object:
        _print(json.dumps({name: as_json(profile(name)) for name in PROFILES}, indent=2))
        return 0
    rows = [["matter", *PROFILES]]
    rows += [[matter, *(tell(profile(name)) for name in PROFILES)] for matter, tell in MATTERS.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        _print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _tell(before: Policy, after: Policy, ends: int | None, *, as_object: bool) -> int:
    found, lines = differences(before, after), changed_lines(before, after)
    if as_object:
        document = {"shorter": [str(one) for one in found if one.shorter]}
        document |= {"longer": [str(one) for one in found if one.longer], "lines": lines}
        _print(json.dumps(document | {"due_at_once": ends}, indent=2))
        return 1 if found or lines else 0
    for one in found:
        _print(f"{_direction(one):<8} {one}")
    for line in lines:
        _print(f"{'changed':<8} {line}")
    if any(one.shorter for one in found):
        _print("what is shorter applies to what is stored as well")
    if any(one.longer for one in found):
        _print("what is longer applies only to what is stored from then on")
    if ends is not None:
        _print(f"{ends} buckets (a day of a kind and purpose each) would end at once")
    if not (found or lines):
        _print("nothing differs")
    return 1 if found or lines else 0


def _direction(one: Difference) -> str:
    if one.shorter and one.longer:
        return "both"
    return "shorter" if one.shorter else "longer"


def _wanted(settings: Settings, name: str | None) -> Sequence[Tenant]:
    if name is None:
        return settings.tenants
    found = _tenant(settings, name)
    if found is None:
        raise ConfigError([f"tenant {name!r} is not in the configuration"])
    return (found,)


def _tenant(settings: Settings, name: str) -> Tenant | None:
    return next((tenant for tenant in settings.tenants if tenant.name == name), None)


def _named(settings: Settings, name: str) -> Policy:
    """A tenant's policy, or else a profile."""
    tenant = _tenant(settings, name)
    return policy_of(tenant) if tenant is not None else find(name)


def _stored(settings: Settings, tenant: Tenant) -> Policy:
    """The policy that the store has in effect; the configured one where there is no store yet."""
    if not _has_store(settings):
        return policy_of(tenant)
    with _opened(settings) as recordings:
        return recordings.policy(recordings.tenant(tenant.name))


def _ends_at_once(settings: Settings, tenant: Tenant, policy: Policy) -> int | None:
    if not _has_store(settings):
        return None
    with _opened(settings) as recordings:
        return recordings.due_at_once(recordings.tenant(tenant.name), policy)


def _has_store(settings: Settings) -> bool:
    return (Path(settings.data_folder) / "catalogue.sqlite3").exists()


def _opened(settings: Settings) -> Recordings:
    return open_recordings(settings, node="cli")


def _configured(arguments: argparse.Namespace, run: Callable[[Settings], int]) -> int:
    try:
        return run(from_environment(arguments.config, {"data": arguments.data}).settings)
    except ConfigError as error:
        return complain(error)
    except Unusable as error:
        return complain(ConfigError(list(error.problems)))
    except (StoreError, OSError) as error:
        sys.stderr.write(f"callvault: {error}\n")
        return 1


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
