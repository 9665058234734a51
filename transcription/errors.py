"""What can go wrong on the way from a recording to its text, by whose fault it is.

    TranscriptionError
    ├── Malformed            the document or job is not in our format
    ├── Unavailable          the world failed; a retry may help
    │   ├── ModelUnavailable     a model is missing or broken; the message says how to mend it
    │   │   └── EngineUnavailable    the one that turns speech into words
    │   └── QueueUnavailable     the work queue does not answer, or refuses
    └── Refused              the answer is no
        ├── NotRedacted          only redacted text leaves by this way
        └── Unsupported          this engine cannot do it, however often it is asked

Messages carry ids and sizes, never text, numbers or names.
"""


class TranscriptionError(Exception):
    """Any failure of transcription."""


class Malformed(TranscriptionError):
    """The document or job is not in our format."""


class Unavailable(TranscriptionError):
    """The world failed; a retry may help."""


class ModelUnavailable(Unavailable):
    """A model is missing or broken; the message says how to mend it."""


class EngineUnavailable(ModelUnavailable):
    """The model that turns speech into words is."""


class QueueUnavailable(Unavailable):
    """The work queue does not answer, or refuses."""


class Refused(TranscriptionError):
    """The answer is no."""


class NotRedacted(Refused):
    """Only redacted text leaves by this way."""


class Unsupported(Refused):
    """This engine cannot do it, however often it is asked."""
