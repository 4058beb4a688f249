"""Run a model and turn its outputs into a prediction."""
