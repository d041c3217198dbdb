"""Prediction, scoring, and the result table."""
