"""Measure, calibrate and report on trained models."""
