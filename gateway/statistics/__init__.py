"""Anonymous statistics: how calls are counted, what of the counts may be told, and when it is published."""
