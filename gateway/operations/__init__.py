"""What whoever runs callvault looks at: logs, metrics, alarms, reloads, `callvault doctor`."""
