"""A call from admission to its record, whatever protocol it came by."""
