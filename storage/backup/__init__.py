"""Backup and restore of a whole store.

    layout    what a backup's folder looks like, and its signed manifest
    snapshot  a consistent copy of the catalogue while others write
    take      a backup, made while the server runs
    replay    what the ledger says happened after a backup, made to happen again
    restore   a backup and the witness, into an empty data folder

A backup holds sealed records and wrapped keys. The keys that open them are the key provider's: no backup has them.
"""
