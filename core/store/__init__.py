"""Persistent state in SQLite or PostgreSQL."""
