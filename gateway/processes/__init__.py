"""The processes of one installation, and how the gateway keeps its children."""
