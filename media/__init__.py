"""Audio and media protocols: RTP, ordering, codecs, voice activity, timeline. Knows no tenants and no disk."""
