"""Rationale filters: one file each, listed in ``registry``, composed in the recipe."""
