"""`python -m tests.gateway.rights.golden`: writes the golden samples anew, to be read before they are committed."""

from __future__ import annotations

from gateway.commands.processors import sample_text
from tests.gateway.rights.test_sample import DESTINATIONS, SAMPLES

if __name__ == "__main__":
    for destination in DESTINATIONS:
        (SAMPLES / f"{destination.name}.json").write_text(sample_text(destination) + "\n", encoding="utf-8")
