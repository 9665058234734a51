"""The probe: everything that is left of a call, from before its erasure and of today, tried against everything.

remains   what there is: databases with their logs, batches of keys, spools, objects
carving   rows that no database knows any more, found in the bytes of its files
climbing  every path to a key: what the provider still opens, with all that it opens, and so on down
contents  what the keys that were found open: slices, documents, spool records, identifiers, tags
proof     one call and its control, a living call of the same backup that must open by the same code
"""

from storage.probe.proof import Proof, Today, prove

__all__ = ["Proof", "Today", "prove"]
