"""Predictors: one interface to models in this process or behind HTTP."""
