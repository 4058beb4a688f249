"""Migrations of the tables of `core.store`, a module for each schema version."""
