"""The sealed recording store: keys, spool, objects, catalogue, retention, erasure. Knows no audio."""
