"""The online service: an HTTP interface, retrieval, reranking and students as deployments of Ray Serve."""
