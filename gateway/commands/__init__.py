"""What the commands of `callvault` do."""
