"""The probe: everything that is left of what was erased, of before and of today, tried against everything.

sources   what there is: catalogues with their logs, raw files, key batches, spools, objects in all versions
rawfiles  the bytes of files, and of a write-ahead log as one stream
carving   rows that no database knows any more, found in bytes
remains   all rows side by side, in a file of the probe's own: memory does not grow with them
claims    what is claimed to be erased: a call, a tenant, one erasure by its target; what lives on is excepted
loading   from the sources into the remains
climbing  every path to a key: what the provider still opens, with all that it opens, and so on down
contents  what the keys that were found open: slices, documents, spool records, identifiers, tags
report    for an officer, and signed for whoever is to verify it
proof     one claim and its control, a living call of the same backup that must open by the same code
"""

from storage.probe.claims import Asked
from storage.probe.proof import Today, prove
from storage.probe.report import Proof, is_report, verify_report

__all__ = ["Asked", "Proof", "Today", "is_report", "prove", "verify_report"]
