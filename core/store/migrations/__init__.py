"""How the tables of `core.store` came to be, version by version."""
