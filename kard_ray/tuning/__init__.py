"""Sweeps: trials of one training stage with other values of its fields, run by Ray Tune."""
