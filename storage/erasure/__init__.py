"""Erasing: what is erased is a key, for good, in every copy that was ever made. FORMAT.md §7 has the order of steps.

targets   what an erasure is of: artefacts, a participant, calls, a purpose, buckets whose time is over, a tenant
graves    the rows that refuse: tombstones of artefacts and wraps, drops of buckets, and what they mean for the tree
change    the change of epoch that carries out every erasure that waits for it, step by step, resumable
sweep     what is deleted when the key is gone: rows and objects
eraser    from request to certificate
"""

from storage.erasure.change import EXCEPTIONS, Step, Surroundings
from storage.erasure.eraser import Eraser
from storage.erasure.targets import CALLS_MAX, Scope, Target

__all__ = ["CALLS_MAX", "EXCEPTIONS", "Eraser", "Scope", "Step", "Surroundings", "Target"]
