"""The knowledge base: passages in LanceDB with a full-text (BM25) and a vector index."""
