"""The specification of callvault, executable: the tree mirrors the source."""
