"""The one door into the recording store: everything goes in and comes out here, named by its tenant.

Synchronous and thread-safe; several processes open the same store at once. It also has the catalogue's side of
`storage.slices.Slices`, which the uploader works against, under `Recordings.slices`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage.accounts import Explain
from storage.audit import Audit, Weight
from storage.backup.take import Source
from storage.breaches import Breaches
from storage.calls import open_calls, read_call, read_calls
from storage.closings import Closings
from storage.confirmation import Confirmations
from storage.consents import Consents
from storage.content import find_content, open_document, open_whole
from storage.dossiers import Dossiers
from storage.egress import EgressLedger
from storage.erasure import Eraser, Step, Surroundings, Target
from storage.errors import Erased, NotFound, Unavailable
from storage.expiry import Expiry
from storage.exports import sign_index
from storage.foundation import Foundation
from storage.heldepochs import DueOf
from storage.holds import Holds
from storage.intake import Intake
from storage.inventory import Inventory, take_inventory
from storage.jobs import Jobs, delete_jobs, read_jobs
from storage.keeping import Keeper
from storage.keyless import KeylessCalls
from storage.keytree import KeyTree
from storage.latest import LatestClock
from storage.leftovers import Leftover, read_leftovers, sweep_leftovers
from storage.model import ArtefactId, CallId, CallState, TenantId
from storage.places import Place
from storage.policies import Adopted, adopt, due_at_once, due_of, mend, missing_rows, policy_of
from storage.policy.model import Policy
from storage.processors import Register
from storage.ratings import Ratings
from storage.reconcile import judged, reconcile, sweep
from storage.records import (
    PROMISED,
    ArtefactRecord,
    CallRecord,
    Change,
    Derived,
    Identifier,
    KeyOperations,
    NewArtefact,
    NewCall,
    OutboxRow,
    Wanted,
)
from storage.residency import Residency
from storage.restrictions import Restrictions
from storage.retained import RetainedCall, retained
from storage.safekeeping import Safekeeping
from storage.search import find_calls
from storage.slicebook import SliceBook
from storage.slices import SliceRow
from storage.spoolindex import SpoolIndex
from storage.spoolview import SpoolView, look
from storage.standing import check_unrestricted
from storage.statistics import Statistics
from storage.streams import StreamReader, open_stream
from storage.telemetry import Telemetry
from storage.timekeeper import Timekeeper
from storage.tokens import Tokens
from storage.vcon import make_vcon, recorded

__all__ = [
    "ArtefactRecord",
    "CallRecord",
    "Change",
    "Derived",
    "Identifier",
    "NewArtefact",
    "NewCall",
    "OutboxRow",
    "Recordings",
    "Wanted",
]

log = logging.getLogger(__name__)

CALLS_AT_ONCE_MAX = 1_000
"""The longest page of a listing."""
_SERVER_WAIT_S = 5.0
"""A server that was killed holds the catalogue no longer than its connections take to be cut."""
_ENTRIES_CHECKED = 100
"""Entries of the ledger that `check` verifies, some 0.1 ms each: it is asked often."""


class Recordings:
    """The recording store of one installation. Every method may raise Unavailable; what else it raises it says."""

    @classmethod
    def open(
        cls,
        data_folder: Path,
        provider_url: str,
        objects_url: str,
        *,
        node: str,
        catalogue_url: str = "",
        tenant_keys: Mapping[str, str] | None = None,
        places: Sequence[Place] = (),
        witness: str = "",
        clock: Callable[[], float] = time.time,
        due_of: DueOf = due_of,
        on_erasure_step: Callable[[Step], None] = lambda _step: None,
    ) -> Self:
        """Opens the store in `data_folder`, makes it at the first start, and brings its tables up to date.

        RolledBack or Tampered if the `witness` (an object store's URL; a folder beside the data) has seen another or
        a newer ledger: then this is an old copy, and only `callvault restore` may make a store of it.
        `catalogue_url` names a server that has the catalogue; none: it is in the folder too (`storage.databases`).
        `tenant_keys` has, by name, the providers of tenants that have their own; one that is away does not keep the
        store from opening. All processes of an installation must be told the same. `places` says where this process
        works, and with what: see `storage.residency`. `clock` gives Unix time; `due_of` says until when what is new
        may be read, by default the tenant's policy; `on_erasure_step` is told of each step once it is durable.
        """
        base = Foundation.open(
            data_folder, provider_url, objects_url, catalogue_url, witness, {} if tenant_keys is None else tenant_keys
        )
        return cls(base, node, places, clock, due_of, on_erasure_step)

    def __init__(
        self,
        base: Foundation,
        node: str,
        places: Sequence[Place],
        clock: Callable[[], float],
        due_of: DueOf,
        on_erasure_step: Callable[[Step], None],
    ) -> None:
        catalogue, provider, signer, installation = base.catalogue, base.provider, base.signer, base.installation
        self._base = base
        self.node = node
        """The name of this machine, which spool files carry."""
        self.objects = base.objects
        self.spool_folder = base.data_folder / "spool"
        self.public_key = signer.public_key
        """What manifests and ledger are signed with."""
        self._spool_index = SpoolIndex(self.spool_folder)
        self._catalogue, self._clock, self._ledger = catalogue, clock, base.ledger
        latest = LatestClock(catalogue, clock)
        self._tree = KeyTree(catalogue, provider, latest, due_of)
        self.residency = Residency(catalogue, self._ledger, places, clock)
        """Where tenants' data may be, and where it is."""
        self.safekeeping = Safekeeping(
            Source(base.data_folder, catalogue, base.served, base.objects, base.witness, base.ledger, signer, clock),
            provider,
        )
        """Witness, backups, and the ledger's own key."""
        self._intake = Intake(catalogue, self._tree, base.objects, self.residency, clock)
        self.slices = SliceBook(catalogue, self._tree, signer, self.residency)
        """The catalogue as the uploader sees it."""
        self.jobs = Jobs(catalogue, clock)
        """The outbox as a count, and the jobs that were given up."""
        keeper, keep = Keeper(catalogue, self._tree), self.safekeeping.keep
        self.tokens = Tokens(catalogue, installation.labels, self._ledger, keep, clock)
        self.statistics = Statistics(catalogue, self._tree, installation.statistics, keep)
        """Published counts of calls, and the calls of a period, to be counted."""
        self.telemetry = Telemetry(catalogue, provider, installation.statistics, base.ledger, clock)
        self.dossiers = Dossiers(catalogue, self._tree, self._intake, keep, clock)
        """Sealed records that belong to no call: requests, orders, and what left."""
        self.egress = EgressLedger(catalogue, self.dossiers, signer, clock)
        """Each copy that left."""
        self.ratings = Ratings(catalogue, self._tree)
        """What calls are billed by."""
        self.confirmations = Confirmations(installation.confirmations, clock)
        """That a set of calls was shown before it is erased."""
        around = (catalogue, provider, base.objects, base.ledger, base.locks, clock, base.witness)
        self.erasures = Eraser(Surroundings(*around, on_step=on_erasure_step))
        """What erases more than a call: artefacts, participants, persons, purposes, what has expired, a tenant."""
        self.timekeeper = Timekeeper(catalogue, provider, clock, latest)
        """Looks at the clocks: whether keys may be destroyed by them, and until when reads are refused."""
        self.expiry = Expiry(catalogue, self.erasures, self.timekeeper, clock)
        """Destroys the keys of what is due."""
        self.holds = Holds(catalogue, keeper, self.erasures, self._ledger, keep, clock)
        """What must not be destroyed, and on which ground."""
        self.restrictions = Restrictions(catalogue, self._ledger, clock)
        """What is kept and not read."""
        self.consents = Consents(
            catalogue, self._tree, keeper, self.erasures, self._ledger, self.residency, keep, clock
        )
        """What rests on somebody's consent, and the evidence of it."""
        self.closings = Closings(catalogue, provider, self._ledger, self.erasures, base.locks, clock)
        """Tenants that leave: from when on, until when, and what is destroyed then."""

    @property
    def register(self) -> Register:
        """Who else gets or holds tenants' data, and what they were told of that."""
        return Register(self._catalogue, self._ledger, self._clock)

    @property
    def breaches(self) -> Breaches:
        """Cases of personal data breaches, and what was within reach."""
        return Breaches(self._catalogue, self.dossiers, self._ledger, self._clock)

    def serving(self) -> AbstractContextManager[None]:
        """Be the only server on this catalogue, of whatever machine: it takes every live call for its own.

        Unavailable if there is another. A catalogue on a server forgets this when the connection is lost.
        """
        taken = "another callvault serves on this catalogue; stop it, or give this one a catalogue of its own"
        return self._catalogue.exclusive("server", self._base.locks, _SERVER_WAIT_S, taken)

    def check(self) -> None:
        """Raises Unavailable, with what would mend it, if key provider, object store or catalogue cannot be used.

        Tampered if the end of the ledger's chain is broken.
        """
        self._base.provider.check()
        self.objects.check()
        with self._catalogue.reading() as connection:
            self._ledger.verify(connection, newest=_ENTRIES_CHECKED)

    def own_providers(self) -> Mapping[TenantId, Unavailable | None]:
        """The tenants that have a key provider of their own, each with what is wrong with it now. Asks each of them."""
        return self._base.routed.check_each()

    def key_operations(self) -> Mapping[str, KeyOperations]:
        """What was asked of the key provider since this store was opened, by operation."""
        return self._base.provider.operations()

    def close(self) -> None:
        """Lets go of the catalogue."""
        self._catalogue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def fingerprint(self) -> str:
        """What a verifier of certificates pins: SHA-256 of the public key, in hexadecimal."""
        return self._ledger.fingerprint

    # Tenants and calls, going in.

    def tenant(self, name: str) -> TenantId:
        """The tenant of that name, made at its first use. The name itself is not stored, only a keyed tag of it."""
        return self._base.tenancy.id_of(name)

    def prepare(self, tenant: TenantId, purposes: Sequence[str] = ()) -> None:
        """Makes and holds bucket keys for 48 hours: at start, with the purposes configured, and then hourly."""
        self._intake.prepare(tenant, purposes)

    def ready(self, tenant: TenantId) -> bool:
        """Whether a call that begins today can be saved while the key provider is away. From memory, at once."""
        return self._intake.ready(tenant)

    @property
    def keyless(self) -> KeylessCalls:
        """Calls whose keys are away."""
        return self._intake.keyless

    def ready_until(self, tenant: TenantId) -> float | None:
        """The Unix second up to which calls can be saved without the provider; None: not now. From memory."""
        return self._intake.ready_until(tenant)

    def begin(self, tenant: TenantId, call: CallId, wanted: Sequence[Wanted]) -> NewCall:
        """Keys for a new call, in memory only: no I/O, some microseconds for each artefact."""
        return self._intake.begin(tenant, call, wanted)

    def save(self, new_calls: Sequence[NewCall], documents: Mapping[ArtefactId, bytes] | None = None) -> None:
        """Makes calls (as LIVE), their keys, and their first documents durable, all in one transaction."""
        self._intake.save(new_calls, documents or {})

    def identify(self, new: NewCall, found: Sequence[Identifier]) -> None:
        """Further identifiers of a saved call, beside those that it was saved with. Erased, NotFound."""
        self._intake.identify(new, found)

    def extend(self, added: NewCall) -> None:
        """Makes streams that a live call gets later durable, keys first of all; `begin` of that call has made them.

        Erased, NotFound, and Refused once the call is over.
        """
        self._intake.extend(added)

    def settle(self, changes: Sequence[Change]) -> list[NotFound | Erased | None]:
        """Makes changes of saved calls, all in one transaction; for each that cannot be made, why: the others are.

        A document (up to 256 KiB) replaces the one that its artefact had, the later of two among these changes too.
        """
        return self._intake.settle(changes)

    def put_documents(
        self,
        new: NewCall,
        documents: Mapping[ArtefactId, bytes],
        state: CallState | None = None,
        jobs: Sequence[str] = (),
    ) -> None:
        """One change by itself. Erased if the call was erased meanwhile, NotFound."""
        for outcome in self.settle([Change(new, documents, state, jobs)]):
            if outcome is not None:
                raise outcome

    def resume(self, tenant: TenantId, call: CallId) -> NewCall:
        """A saved call with its keys, after a restart: what `put_documents` needs. Erased, NotFound."""
        return self._intake.resume(tenant, call)

    def add_derived(
        self, tenant: TenantId, call: CallId, sources: Sequence[ArtefactId], items: Sequence[Derived]
    ) -> tuple[ArtefactId, ...]:
        """Stores what was derived from `sources`, in the transaction that finds them alive; else Erased, NotFound.

        AlreadyExists if one of the items is there already.
        """
        made = self._intake.add_derived(tenant, call, sources, items)
        for artefact, item in zip(made, items, strict=True):
            if item.kind in PROMISED:
                self.safekeeping.keep(artefact)
        return made

    def amend(self, tenant: TenantId, artefact: ArtefactId, change: Callable[[bytes], bytes]) -> bytes:
        """Replaces an artefact's document by what `change` makes of it, and gives that; nobody's change gets lost.

        `change` may be called again, if another one came first. NotFound, Erased, NotReady without a document.
        """
        return self.dossiers.amend_artefact(tenant, artefact, change)

    # Policies.

    def adopt(self, tenant: TenantId, policy: Policy) -> Adopted:
        """Puts a tenant's policy into effect, with an entry in the ledger; does nothing if it is already.

        What it makes shorter applies to what is stored, what it makes longer only to what is new. Refused.
        """
        with self._catalogue.writing() as connection:
            return adopt(connection, self._ledger, tenant, policy, self._clock())

    def mend_policies(self) -> int:
        """Puts rows of policies that were deleted back from the signed ledger; at start. Gives of how many tenants."""
        with self._catalogue.reading() as connection:
            if not missing_rows(connection):
                return 0
        with self._catalogue.writing() as connection:
            mended = mend(connection)
        for tenant in mended:
            log.error("a policy was gone from the catalogue, and is back from the ledger", extra={"tenant": tenant})
        return len(mended)

    def policy(self, tenant: TenantId) -> Policy:
        """The policy in effect; callvault's own defaults before the first was adopted."""
        with self._catalogue.reading() as connection:
            return policy_of(connection, tenant)

    def due_at_once(self, tenant: TenantId, policy: Policy) -> int:
        """How many buckets (a day of a kind and purpose each) would end at once if a policy were adopted now."""
        with self._catalogue.reading() as connection:
            return due_at_once(connection, tenant, policy, self._clock())

    def retained(self, tenant: TenantId, call: CallId) -> RetainedCall:
        """Why each artefact of a call is kept, and until when; of erased ones when they went, and by which erasure.

        NotFound.
        """
        with self._catalogue.reading() as connection:
            return retained(connection, tenant, call)

    # Going out.

    def calls(self, tenant: TenantId, *, limit: int = 100, before: CallId | None = None) -> list[CallRecord]:
        """The tenant's calls, newest first; NotFound if `before` is none of them."""
        with self._catalogue.reading() as connection:
            return read_calls(connection, tenant, min(limit, CALLS_AT_ONCE_MAX), before)

    def find(
        self, tenant: TenantId, wanted: Sequence[Identifier], *, limit: int = 100, before: CallId | None = None
    ) -> list[CallRecord]:
        """The tenant's calls that have one of the identifiers, newest first; NotFound if `before` is no call of it.

        Costs a tag for each identifier and bucket: a day and purpose.
        """
        with self._catalogue.reading() as connection:
            return find_calls(connection, self._tree, tenant, wanted, min(limit, CALLS_AT_ONCE_MAX), before)

    def call(self, tenant: TenantId, call: CallId) -> CallRecord:
        """One call; an erased one shows its state only. NotFound also for another tenant's."""
        with self._catalogue.reading() as connection:
            return read_call(connection, tenant, call)

    def live_calls(self) -> list[tuple[TenantId, CallId]]:
        """Calls that are in state LIVE: after a restart, those that the crash interrupted."""
        with self._catalogue.reading() as connection:
            return open_calls(connection, CallState.LIVE)

    def document(self, tenant: TenantId, artefact: ArtefactId, *, recording: bool = False) -> bytes:
        """A document or derived artefact, whole. NotFound, Erased, NotReady, DataError, Restricted.

        `recording`: it is read for the recording itself, to finish it, and for nobody: restrictions do not matter.
        """
        with self._catalogue.reading() as connection:
            opened = self._tree.open(connection, artefact, tenant)
            if not recording:
                check_unrestricted(connection, opened.ref.call)
            found = find_content(connection, artefact)
        if isinstance(found, SliceRow):
            return open_whole(opened, found, self.objects)
        return open_document(opened, *found)

    def stream(self, tenant: TenantId, artefact: ArtefactId, *, recording: bool = False) -> StreamReader:
        """A stream's entries, from slices and from the spool alike; close it after use. NotFound, Erased, Restricted.

        `recording` as of `document`.
        """
        where = (self._catalogue, self._tree, self.objects, self._spool_index)
        return open_stream(*where, tenant, artefact, recording=recording)

    # Jobs.

    def outbox_pending(self, limit: int = 100) -> list[OutboxRow]:
        """The oldest jobs that were not handed to the queue."""
        with self._catalogue.reading() as connection:
            return read_jobs(connection, limit)

    def outbox_sent(self, ids: Sequence[str]) -> None:
        """Forgets jobs that the queue has acknowledged."""
        with self._catalogue.writing() as connection:
            delete_jobs(connection, ids)

    # Erasing.

    def erase_call(self, tenant: TenantId, call: CallId, *, ground: str, actor: str) -> dict[str, Any]:
        """Destroys the keys of a call and gives the certificate; of a call erased before, the one it got then.

        Reads are refused from the first step on. NotFound; Unavailable if a step failed: the rest is done at the next
        start, or when asked again. Ground and actor are kept for ever and may name no person or number (Refused).
        """
        return self.erasures.erase(tenant, Target.of_call(call), ground, actor)

    def resume_erasures(self) -> int:
        """Finishes what a crash or an absent provider left undone; at start. Gives how many were finished."""
        return self.erasures.resume()

    def sweep_erased(self) -> int:
        """Deletes what erasures have left to be swept; every few minutes. Gives how many changes of epoch that were."""
        return self.erasures.sweep()

    def leftovers(self) -> list[Leftover]:
        """Objects of erased calls that the object store's lock keeps, unreadable; the first thousand of them."""
        with self._catalogue.reading() as connection:
            return read_leftovers(connection)

    def sweep_leftovers(self) -> int:
        """Deletes those whose lock has ended; daily or oftener. Gives how many went."""
        return sweep_leftovers(self._catalogue, self._ledger, self.objects, self._clock)

    def certificate(self, tenant: TenantId, call: CallId) -> dict[str, Any]:
        """The certificate of a call's erasure; NotFound, or NotReady while it is under way."""
        return self.erasures.certificate_of(tenant, call)

    def vcon(self, tenant: TenantId, certificate: Mapping[str, Any]) -> dict[str, Any]:
        """A certificate of one call as a signed vCon, see `storage.vcon`; NotFound, and Refused of several calls."""
        with self._catalogue.reading() as connection:
            day, tracks = recorded(connection, tenant, certificate)
        return make_vcon(self._base.signer, certificate, day, tracks, self._clock())

    # Manifests.

    def store_manifest(self, tenant: TenantId, call: CallId) -> None:
        """Signs and stores a call's manifest, if it has none."""
        self.slices.store_manifest(tenant, call)

    def manifest(self, tenant: TenantId, call: CallId) -> dict[str, Any]:
        """The signed manifest; NotFound, Erased, NotReady, and DataError if it is not what was signed for this call."""
        return self.slices.manifest(tenant, call)

    def sign_export(self, index: Mapping[str, Any]) -> dict[str, Any]:
        """The index of an export, signed; `storage.exports` checks it."""
        return sign_index(self._base.signer, index)

    def reconcile(self, explain: Explain, *, hashes: bool = False) -> Audit:
        """Compares catalogue, spool, objects and outbox; see `storage.reconcile`."""
        return reconcile(
            self._catalogue, self._tree, self.objects, lambda: look(self.spool_folder), explain, hashes=hashes
        )

    def inventory(self) -> Inventory:
        """Every byte that is stored of each tenant, under its kind; see `storage.inventory`."""
        return take_inventory(self._catalogue, self.objects, lambda: look(self.spool_folder))

    def spool_waits(self, spool: SpoolView) -> dict[tuple[ArtefactId, str], tuple[Weight, str]]:
        """Of each stream in the spool, by artefact and run, what it waits for."""
        with self._catalogue.reading() as connection:
            return {(stream.artefact, stream.run): found for stream, found in judged(connection, spool)}

    def sweep_objects(self, names: Iterable[str]) -> int:
        """Deletes those of these objects that no slice names now; only while nobody uploads. Gives how many."""
        return sweep(self._catalogue, self.objects, names)
