"""Migrations, one file for each schema version."""
