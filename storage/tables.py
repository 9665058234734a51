"""The catalogue's tables. In clear stand random ids, kinds, buckets, states, sizes, hashes, counters and days; no more.

Whatever could say who called whom, when in the day, or what was said is sealed under an artefact key. A test lists
every column against this rule, so a new one has to be argued for there.

Two habits serve the erasing of wrapped keys. Key rows are only ever appended (an integer primary key that grows),
because a row inserted in the middle makes SQLite move its neighbours and leave copies of them in the gaps of pages;
and they are overwritten with zeros in place before they are deleted.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData()

_ID = String(32)
_WORD = String(32)
_DAY = String(10)
_SERIAL = BigInteger().with_variant(Integer, "sqlite")  # which numbers rows in 64 bits by that name alone


def _serial() -> Column[int]:
    return Column("serial", _SERIAL, primary_key=True, autoincrement=True)


installation = Table(
    "installation",  # secrets of the installation, wrapped by the provider's key "installation"
    metadata,
    Column("name", _WORD, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

tenants = Table(
    "tenants",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("tag", LargeBinary, nullable=False, unique=True),  # HMAC of its name under a secret of the installation
    Column("fence", Integer, nullable=False),  # grows with every tombstone and epoch change; readers' leases watch it
    Column("turn", Integer, nullable=False),  # grows each time the tenant's lock is taken; its holder checks it
)

own_keys = Table(
    "own_keys",  # a row for each tenant whose keys are at a provider of its own; which one the configuration says
    metadata,
    Column("tenant", _ID, ForeignKey("tenants.id"), primary_key=True),
)

epochs = Table(
    "epochs",
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("root", _WORD, nullable=False),
    Column("n", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),  # the epoch secret under TK(tenant, root, n); zeros once retired
    Column("probe", LargeBinary, nullable=False),  # random bytes under the same key: must not open once it is destroyed
    UniqueConstraint("tenant", "root", "n"),
)

buckets = Table(
    "buckets",
    metadata,
    _serial(),
    Column("id", _ID, nullable=False),  # names the bucket's key: a replaced key is a new bucket
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("root", _WORD, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("kind", _WORD, nullable=False),
    Column("purpose", _WORD, nullable=False),
    Column("day", _DAY, nullable=False),
    Column("due", BigInteger),  # Unix second from which reads are refused: its day and the policy; 0: dropped
    Column("wrapped", LargeBinary, nullable=False),  # the bucket key under the epoch secret
    UniqueConstraint("tenant", "root", "epoch", "kind", "purpose", "day"),
    UniqueConstraint("id", "epoch"),
)

nodes = Table(
    "nodes",  # leaves below nodes below buckets; an epoch change gives a node that lives on a row with its new parent
    metadata,
    _serial(),
    Column("id", _ID, nullable=False),  # names the node's key: a replaced key is a new node
    Column("parent", _ID, nullable=False, index=True),  # a bucket's id, or of a leaf a node's
    Column("wrapped", LargeBinary, nullable=False),  # the node's key under its parent's
    UniqueConstraint("id", "parent"),
)

calls = Table(
    "calls",
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("state", _WORD, nullable=False),
    Column("day", _DAY, nullable=False),
    Column("closed", Boolean, nullable=False),  # has its manifest, or is erased: no stream of it grows any more
    Column("reason", _WORD),  # of a call that never got keys: one of our words, see storage/keyless.py
    Index("calls_of_tenant", "tenant", "serial"),
    Index("calls_open", "closed", "state"),
    Index("calls_of_day", "tenant", "day"),
)

artefacts = Table(
    "artefacts",
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, ForeignKey("calls.id"), nullable=False, index=True),
    Column("participant", _ID, nullable=False),
    Column("kind", _WORD, nullable=False),
    Column("purpose", _WORD, nullable=False),
    Column("commitment", LargeBinary, nullable=False),
    Column("segment_bytes", Integer, nullable=False),
    Column("state", _WORD, nullable=False),
    Column("interrupted", Boolean, nullable=False),
    Column("size", BigInteger, nullable=False),
)

artefact_keys = Table(
    "artefact_keys",
    metadata,
    _serial(),
    Column("artefact", _ID, ForeignKey("artefacts.id"), nullable=False),
    Column("leaf", _ID, nullable=False, index=True),
    Column("wrapped", LargeBinary, nullable=False),  # the artefact key under the leaf's
    UniqueConstraint("artefact", "leaf"),
)

tags = Table(
    "tags",  # what calls are found by: see storage/tags.py. Waste with the leaf's key, so deleted without zeros
    metadata,
    _serial(),
    Column("leaf", _ID, nullable=False, index=True),
    Column("artefact", _ID, nullable=False),
    Column("tag", LargeBinary, nullable=False, unique=True),  # no two are equal, also where identifiers are
)

identifiers = Table(
    "identifiers",  # what the tags are computed from, for the next epoch
    metadata,
    _serial(),
    Column("artefact", _ID, ForeignKey("artefacts.id"), nullable=False, index=True),
    Column("sealed", LargeBinary, nullable=False),  # under a key derived from the artefact's
)

documents = Table(
    "documents",
    metadata,
    _serial(),
    Column("artefact", _ID, ForeignKey("artefacts.id"), nullable=False, unique=True),
    Column("stream_id", _ID, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

slices = Table(
    "slices",
    metadata,
    _serial(),
    Column("artefact", _ID, ForeignKey("artefacts.id"), nullable=False),
    Column("slice_no", Integer, nullable=False),
    Column("stream_id", _ID, nullable=False, unique=True),
    Column("run", _ID, nullable=False),  # the spool run that its records came from; zeros for derived artefacts
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("segment_bytes", Integer, nullable=False),
    Column("sealed_index", LargeBinary, nullable=False),  # header and time index, sealed under the artefact key
    UniqueConstraint("artefact", "slice_no"),
)

manifests = Table(
    "manifests",
    metadata,
    Column("call", _ID, ForeignKey("calls.id"), primary_key=True),
    Column("body", Text, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, nullable=False, index=True),
    Column("subject", _WORD, nullable=False),
)

dead_jobs = Table(
    "dead_jobs",  # jobs that were given up; an erased call has none
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, nullable=False),
    Column("subject", _WORD, nullable=False),
    Column("reason", String(64), nullable=False),  # the type of the last error, never its text
    Column("deliveries", Integer, nullable=False),
    Column("day", _DAY, nullable=False),
    UniqueConstraint("call", "subject"),
)

tombstones = Table(
    "tombstones",  # for ever: what a restored backup must not bring back
    metadata,
    Column("artefact", _ID, primary_key=True),
    Column("purpose", _WORD, primary_key=True),  # the wraps in buckets of this purpose; empty: the whole artefact
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, nullable=False, index=True),
    Column("erasure", _ID, nullable=False, index=True),
)

drops = Table(
    "drops",  # for ever, as tombstones: buckets that were dropped whole, whatever was in them
    metadata,
    _serial(),
    Column("tenant", _ID, nullable=False),
    Column("root", _WORD, nullable=False),
    Column("kind", _WORD, nullable=False),
    Column("purpose", _WORD, nullable=False),
    Column("day", _DAY, nullable=False),
    Column("erasure", _ID, nullable=False, index=True),
    UniqueConstraint("tenant", "root", "kind", "purpose", "day", "erasure"),
)

holds = Table(
    "holds",  # why something must not be erased; what is held has a wrap in the bucket with the hold's id as purpose
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("ground", String(200), nullable=False),  # words that may stand in the ledger
    Column("released", Boolean, nullable=False),
    Column("entry", Integer, nullable=False),  # of the ledger, which says when and by whom
)

held_calls = Table(
    "held_calls",  # what of these calls is made while the hold stands is held as well
    metadata,
    Column("call", _ID, ForeignKey("calls.id"), primary_key=True),
    Column("hold", _ID, ForeignKey("holds.id"), primary_key=True, index=True),
)

restrictions = Table(
    "restrictions",  # Art. 18 GDPR: what is kept and not read. See storage/restrictions.py
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, ForeignKey("calls.id"), nullable=False, index=True),
    Column("ground", String(200), nullable=False),  # words that may stand in the ledger
    Column("lifted", Boolean, nullable=False),
    Column("entry", Integer, nullable=False),  # of the ledger, which says when and by whom
)

consents = Table(
    "consents",  # what rests on somebody's consent; the evidence is sealed. See storage/consents.py
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),  # also its evidence's, an artefact of the call
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, ForeignKey("calls.id"), nullable=False, index=True),
    Column("participant", _ID, nullable=False),
    Column("purpose", _WORD, nullable=False),
    Column("erasure", _ID),  # that its withdrawal brought about; none: it stands
)

changes = Table(
    "changes",  # of epochs: each carries out the erasures that were asked for before it began
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False),
    Column("finished", Boolean, nullable=False),
    Index("changes_of_tenant", "tenant", "finished"),
)

change_steps = Table(
    "change_steps",
    metadata,
    Column("change", _ID, ForeignKey("changes.id"), primary_key=True),
    Column("step", _WORD, primary_key=True),
    Column("facts", Text, nullable=False),  # JSON: epochs, counts, times, the provider's answer
)

preparations = Table(
    "preparations",  # nodes and leaves that a change makes ahead of its epoch. See storage/preparations.py
    metadata,
    _serial(),
    Column("change", _ID, ForeignKey("changes.id"), nullable=False, index=True),
    Column("id", _ID, nullable=False),
    Column("parent", _ID, nullable=False),  # of the bucket above it, which gets its row last
)

erasures = Table(
    "erasures",
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),
    Column("tenant", _ID, nullable=False, index=True),
    Column("scope", _WORD, nullable=False),
    Column("target", Text, nullable=False),  # JSON: random ids, kinds, purposes, days; as in the ledger
    Column("intent", Integer, nullable=False),  # its entry in the ledger
    Column("change", _ID, ForeignKey("changes.id"), index=True),  # none yet: it waits for the next one
    Column("certificate", Text),
)

erased_calls = Table(
    "erased_calls",  # whose certificate is whose: calls that an erasure names, or that died of it
    metadata,
    Column("call", _ID, primary_key=True),
    Column("erasure", _ID, ForeignKey("erasures.id"), primary_key=True),
)

leftovers = Table(
    "leftovers",  # objects of erased calls that the store's lock keeps: nobody can read them, and they go when it ends
    metadata,
    _serial(),
    Column("erasure", _ID, nullable=False),
    Column("tenant", _ID, nullable=False),
    Column("name", String(255), nullable=False, unique=True),  # the object's: random ids
    Column("day", _DAY, nullable=False),  # UTC day on which deleting it is tried again
)

ledger = Table(
    "ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("signature", String(128), nullable=False),
)

statistics = Table(
    "statistics",  # for ever, and never changed: it counts calls and knows none. See storage/statistics.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("period", _DAY, nullable=False),  # a UTC day or month that is over
    Column("sealed", LargeBinary, nullable=False),  # under a secret of the installation: it outlives the tenant's keys
    UniqueConstraint("tenant", "period"),
)

telemetry = Table(
    "telemetry",  # how good tracks sounded, apart from their calls. See storage/telemetry.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("day", _DAY, nullable=False),  # UTC
    Column("tag", LargeBinary, unique=True),  # of call and track, under the day's secret; none: a count of such rows
    Column("sealed", LargeBinary, nullable=False),  # classes of values: no number, no address; all of one length
    Index("telemetry_of_day", "tenant", "day"),
)

telemetry_days = Table(
    "telemetry_days",  # a day's secret, until its key at the provider is destroyed
    metadata,
    Column("tenant", _ID, ForeignKey("tenants.id"), primary_key=True),
    Column("day", _DAY, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
)

egress = Table(
    "egress",  # for ever: which copies of a call are out of reach. To whom they went is sealed; see storage/egress.py
    metadata,
    _serial(),
    Column("id", _ID, nullable=False),  # of the dossier
    Column("tenant", _ID, nullable=False),
    Column("call", _ID, nullable=False, index=True),
    Column("day", _DAY, nullable=False),  # UTC day on which it left
    Column("settled", Boolean, nullable=False, server_default=false()),  # erased, and its recipient needs not be told
    UniqueConstraint("id", "call"),
)

residency = Table(
    "residency",
    metadata,
    Column("tenant", _ID, ForeignKey("tenants.id"), primary_key=True),
    Column("rules", String(1000), nullable=False),  # where its data may be: codes of countries, their parts, groups
)

locations = Table(
    "locations",  # for ever: where data of a tenant is or was. See storage/residency.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("part", _WORD, nullable=False),
    Column("region", String(32), nullable=False),
    Column("place", String(200), nullable=False),  # a host, a bucket: the operator's, and no person's
    Column("day", _DAY, nullable=False),
    Column("seq", Integer, nullable=False),  # of the ledger's entry about it
)

processors = Table(
    "processors",  # for ever: what a tenant was told of its sub-processors. See storage/processors.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("name", String(100), nullable=False),  # a company's, in the operator's words: no person's
    Column("body", Text, nullable=False),  # canonical JSON: company, region, terms, hosts; empty: it is one no more
    Column("from_s", BigInteger, nullable=False),  # Unix second from which data may go there
    Column("day", _DAY, nullable=False),
    Column("seq", Integer, nullable=False),  # of the ledger's entry about it
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("role", _WORD, nullable=False),
    Column("label", LargeBinary, nullable=False),  # sealed: people write names into labels
    Column("revoked", Boolean, nullable=False),
)

policies = Table(
    "policies",  # the newest row of a tenant is in effect. See storage/policies.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False),
    Column("body", Text, nullable=False),  # canonical JSON: terms, laws, regions; its words name nobody
    Column("digest", String(64), nullable=False),  # SHA-256 of body
    Column("entry", Integer, nullable=False),  # of the ledger, which says what it made longer or shorter, and why
    Index("policies_of_tenant", "tenant", "serial"),
)

closings = Table(
    "closings",  # tenants that leave; the newest row of a tenant counts. See storage/closings.py
    metadata,
    _serial(),
    Column("tenant", _ID, ForeignKey("tenants.id"), nullable=False, index=True),
    Column("state", _WORD, nullable=False),
    Column("closed_s", BigInteger, nullable=False),  # Unix seconds of the contract's end, and of what follows it
    Column("content_s", BigInteger),
    Column("open_s", BigInteger, nullable=False),
    Column("account_s", BigInteger, nullable=False),
    Column("entry", Integer, nullable=False),  # of the ledger, which has the ground
)

unwitnessed = Table(
    "unwitnessed",  # what the witness has to get yet, noted where it is written. See storage/witness/pending.py
    metadata,
    _serial(),
    Column("id", _ID, nullable=False, unique=True),  # of the batch that it will be
    Column("tenant", _ID, nullable=False),
    Column("kind", _WORD, nullable=False),  # a record, a hold, statistics
    Column("named", _ID, nullable=False),  # an artefact, a hold, a period
    UniqueConstraint("tenant", "kind", "named"),
)

heartbeats = Table(
    "heartbeats",  # the last look at the clocks, one row: see storage/clocks.py
    metadata,
    Column("name", _WORD, primary_key=True),
    Column("host_s", BigInteger, nullable=False),
    Column("uptime_s", BigInteger, nullable=False),
    Column("boot", _ID, nullable=False),  # the kernel's random name of this start of the machine
    Column("latest_s", BigInteger, nullable=False),
    Column("settled_s", BigInteger, nullable=False),
)
