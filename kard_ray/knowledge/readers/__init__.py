"""Corpus readers: one file each, listed in ``registry``."""
