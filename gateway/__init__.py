"""Everything that faces outside, and the program: SIP, HTTP API, command line."""
