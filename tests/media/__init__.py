"""The specification of the media package."""
