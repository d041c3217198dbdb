"""Token-level compression of symbolic knowledge (SKIntern, section 3.2): one file per compressor."""
