"""Training, evaluation and export. Needs the extra `train`; serving never imports it."""
