"""The specification of the codecs."""
