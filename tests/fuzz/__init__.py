"""Fuzzing: what parsers promise about any bytes, a corpus that is kept, and engines that look for more."""
