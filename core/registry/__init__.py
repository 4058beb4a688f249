"""Which models exist, where they come from and which revision is live."""
