"""Registry of models: which exist, where they come from, and which revision is live."""
