"""`callvault doctor`: what callvault needs of a machine and of the services around it, checked, and how to mend it."""
