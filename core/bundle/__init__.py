"""Model folders: their configuration, metrics, files and model cards."""
