"""What can go wrong in the store, by whose fault it is.

    StoreError
    ├── DataError            the stored bytes are wrong
    │   ├── Malformed        not in the format at all
    │   ├── Truncated        shorter than the catalogue says
    │   ├── Tampered         authentication failed under the right key
    │   ├── WrongKey         the key's commitment does not match
    │   ├── Swapped          a valid object, but not the one asked for
    │   └── RolledBack       older than what has been seen of it
    ├── Unavailable          the world failed; a retry may help
    │   └── WrongProvider    the key provider answers, and is not the one with these keys
    └── Refused              the answer is no
        ├── NotFound         no such thing for this tenant
        ├── AlreadyExists    immutable things are written once
        ├── Erased           its key is destroyed, or being destroyed
        │   └── Expired      its time is over: refused, and destroyed soon
        ├── NotReady         exists, but is not complete yet
        ├── Misplaced        its tenant's data may not be where this would bring it
        ├── OnHold           erasure is refused, the message names the ground
        └── Restricted       it is kept, and nothing of it is read until the restriction is lifted

Messages carry ids and sizes, never content, numbers, names or keys.
"""


class StoreError(Exception):
    """Any failure of the store."""


class DataError(StoreError):
    """The stored bytes are wrong."""


class Malformed(DataError):
    """Not in the format at all."""


class Truncated(DataError):
    """Shorter than the catalogue says."""


class Tampered(DataError):
    """Authentication failed under the right key."""


class WrongKey(DataError):
    """The key's commitment does not match."""


class Swapped(DataError):
    """A valid object, but not the one that was asked for."""


class RolledBack(DataError):
    """Older than what has been seen of it."""


class Unavailable(StoreError):
    """The world failed; a retry may help."""


class WrongProvider(Unavailable):
    """The key provider answers, and has not what the one with these keys must have: no evidence of destruction."""


class Refused(StoreError):
    """The answer is no."""


class NotFound(Refused):
    """No such thing for this tenant."""


class AlreadyExists(Refused):
    """Immutable things are written once."""


class Erased(Refused):
    """Its key is destroyed, or being destroyed."""


class Expired(Erased):
    """Its time is over: refused, whether its key is destroyed already or only soon."""


class NotReady(Refused):
    """Exists, but is not complete yet."""


class Misplaced(Refused):
    """Its tenant's data may not be where this would bring it."""


class OnHold(Refused):
    """Erasure is refused; the message names the ground."""


class Restricted(Refused):
    """It is kept, and nothing of it is read, exported or derived until the restriction (Art. 18 GDPR) is lifted."""
