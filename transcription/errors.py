"""What can go wrong on the way from a recording to its text, by whose fault it is.

    TranscriptionError
    ├── Malformed            the document or job is not in our format
    ├── Unavailable          the world failed; a retry may help
    │   ├── EngineUnavailable    no speech engine or no model; the message says how to mend it
    │   └── QueueUnavailable     the work queue does not answer, or refuses
    └── NotRedacted          the answer is no: only redacted text leaves by this way

Messages carry ids and sizes, never text, numbers or names.
"""


class TranscriptionError(Exception):
    """Any failure of transcription."""


class Malformed(TranscriptionError):
    """The document or job is not in our format."""


class Unavailable(TranscriptionError):
    """The world failed; a retry may help."""


class EngineUnavailable(Unavailable):
    """No speech engine or no model; the message says how to mend it."""


class QueueUnavailable(Unavailable):
    """The work queue does not answer, or refuses."""


class NotRedacted(TranscriptionError):
    """Only redacted text leaves by this way."""
