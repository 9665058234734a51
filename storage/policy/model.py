"""A policy: everything that a tenant promises about its calls, each line with where it was promised.

`source` names the row of the provider's published promises that a line carries out (`UP-02`), `table` where only their
comparison has it, or `default`: the provider states nothing, and the value is the safe one of this product.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from storage.model import Kind, Root
from storage.policy.term import Term
from storage.records import ROOTS

ANY = "*"
DEFAULT = "default"

CONTENT = tuple(kind for kind in Kind if ROOTS[kind] is not Root.STATUTORY)
"""Kinds that `*` stands for: what is kept because a law says so is never meant by it."""
STATUTORY = tuple(kind for kind in Kind if ROOTS[kind] is Root.STATUTORY)


class Support(StrEnum):
    """Whether the provider's own people may open a tenant's content."""

    DENY = "deny"
    CONSENT = "consent"  # with a grant that the tenant gave, for a while
    STANDING = "standing"


class Choice(StrEnum):
    """Who decides where data is kept."""

    FIXED = "fixed"
    CUSTOMER = "customer"
    NEAREST = "nearest"


class NoStorage(StrEnum):
    """Whether a tenant may have calls handled of which nothing is kept."""

    OPTION = "option"
    TRANSPORT = "transport"  # what is not recorded is only transported
    NONE = "none"


class Form(StrEnum):
    """What happens to statistics of calls."""

    USAGE = "usage-analysis"
    ANONYMISED = "anonymised"
    AT_CLOSING = "anonymised-at-closing"
    IRREVERSIBLE = "irreversible"
    KEPT = "kept"


class Answers(StrEnum):
    """Who answers people who ask for their data."""

    PROVIDER = "provider"
    CUSTOMER = "customer"  # the provider helps


@dataclass(frozen=True, slots=True)
class Stated:
    """What every line has: where it was promised."""

    source: str

    @property
    def stated(self) -> bool:
        """Whether the provider says so itself."""
        return self.source != DEFAULT


@dataclass(frozen=True, slots=True)
class Rule(Stated):
    """How long kinds of things are kept for a purpose. `reason` is the tenant's own, where it set the term itself.

    `most` is the longest term that needs no reason. Of what a law obliges to keep, `term` is the least, and `law`
    names it; `by_law`: the provider names the law and no period.
    """

    kinds: tuple[str, ...]
    term: Term
    most: Term
    purpose: str = ANY
    setting: bool = False
    law: str = ""
    by_law: bool = False
    elsewhere: str = ""  # who keeps it as well, for the provider
    reason: str = ""

    def covers(self, kind: Kind, purpose: str) -> bool:
        """Whether it says anything about such a thing. What is said of requests goes for breaches: both are kept to
        show what was done, and policies older than the kind know only the former."""
        named = kind.value in self.kinds or (ANY in self.kinds and kind in CONTENT)
        named = named or (kind is Kind.BREACH and Kind.REQUEST.value in self.kinds)
        return named and self.purpose in (ANY, purpose)

    def precision(self, kind: Kind) -> tuple[bool, bool, bool]:
        """The greater, the more it is meant: the tenant's own first, then one that names kind, then purpose."""
        return bool(self.reason) or self.source == "tenant", kind.value in self.kinds, self.purpose != ANY


@dataclass(frozen=True, slots=True)
class Closing(Stated):
    """What happens when a tenant leaves: after `grace` its content's root is destroyed, unless `terms_go_on`, where
    each thing goes when its own term ends; what has none goes then as well. Account data goes after `account`."""

    grace: Term
    terms_go_on: bool
    account: Term
    account_source: str
    account_holds: tuple[str, ...] = ("account",)


@dataclass(frozen=True, slots=True)
class Logs(Stated):
    """How long logs are kept."""

    term: Term


@dataclass(frozen=True, slots=True)
class Requests(Stated):
    """By when people who ask get an answer; `extension` on top, only before the end and with a reason."""

    term: Term
    extension: Term
    warn_percent: tuple[int, ...]
    answered_by: Answers = Answers.PROVIDER
    by_law: bool = False


@dataclass(frozen=True, slots=True)
class Breach(Stated):
    """By when a breach is told to the authority."""

    hours: int
    by_law: bool = False


@dataclass(frozen=True, slots=True)
class Place(Stated):
    """Where data is kept: the regions allowed, and sites within them."""

    regions: tuple[str, ...]
    sites: tuple[str, ...]
    choice: Choice


@dataclass(frozen=True, slots=True)
class Storage(Stated):
    """Whether calls can be handled without keeping anything of them; `chosen`: defaults are safe (CT-10), nothing is
    recorded of a tenant that has not said itself that it records. It holds whoever says so, the source or we."""

    without: NoStorage
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Announcement(Stated):
    """Whether a recording is always announced before it begins."""

    always: bool


@dataclass(frozen=True, slots=True)
class Purposes(Stated):
    """What recordings may be made for, and whether each has to say which."""

    allowed: tuple[str, ...]
    mandatory: bool


@dataclass(frozen=True, slots=True)
class Access(Stated):
    """Who opens content: the provider's support, the tenant's people (with a second factor); who erases it."""

    support: Support
    second_factor: bool
    erased_any_time: bool


@dataclass(frozen=True, slots=True)
class Statistics(Stated):
    """What becomes of statistics, and how many calls a number stands for at least."""

    form: Form
    minimum: int


@dataclass(frozen=True, slots=True)
class Egress(Stated):
    """Whether anything leaves only to where the tenant has allowed it, and whether recipients are named."""

    opt_in: bool


@dataclass(frozen=True, slots=True)
class Numbers(Stated):
    """Whether withheld numbers stay withheld to all but emergency calls."""

    presentation: bool


@dataclass(frozen=True, slots=True)
class Law(Stated):
    """The texts that it stands under, the authority, and who is controller; the other one is processor."""

    texts: tuple[str, ...]
    authority: str
    controller: Answers


@dataclass(frozen=True, slots=True)
class Processor(Stated):
    """Somebody who keeps something for the provider, with a period of its own."""

    what: str
    term: Term


@dataclass(frozen=True, slots=True)
class Policy:
    """What one tenant promises: its profile's lines, and its own settings first among `retention`."""

    name: str
    title: str
    retention: tuple[Rule, ...]
    closing: Closing
    logs: Logs
    requests: Requests
    breach: Breach
    place: Place
    storage: Storage
    announcement: Announcement
    purposes: Purposes
    access: Access
    statistics: Statistics
    egress: Egress
    numbers: Numbers
    law: Law
    processors: tuple[Processor, ...] = ()
    zone: str = "UTC"

    def rule(self, kind: Kind, purpose: str) -> Rule:
        """What says how long such a thing is kept; of several the one that means it most, the first of equals."""
        found = [rule for rule in self.retention if rule.covers(kind, purpose)]
        return max(found, key=lambda rule: rule.precision(kind))

    @property
    def announcement_needed(self) -> bool:
        """Whether a tenant that records has to have an announcement: where the source says that every recording is
        announced, and where defaults are safe (`Storage.chosen`), whoever says so."""
        return self.announcement.always and (self.announcement.stated or self.storage.chosen)

    def holds_least(self, kind: Kind) -> bool:
        """Whether the term of such a thing is the least that a law asks for, and not the most that is promised."""
        return kind in STATUTORY
