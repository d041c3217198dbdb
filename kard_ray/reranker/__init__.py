"""A reranker that learns from question and passage alone to prefer what the rationale would have retrieved."""
