"""What recording clients say (RFC 7865, RFC 7866): whether a session is a recording, who takes part, who sends what."""
