"""What students and rerankers are trained with: the optimizer, the order of rows, Ray Train's edge."""
