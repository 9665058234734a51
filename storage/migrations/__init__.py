"""Migrations of the catalogue, run by `storage.catalogue` when a store is opened."""
