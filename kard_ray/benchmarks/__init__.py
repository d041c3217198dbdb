"""Questions: one file per benchmark, no Ray and no models."""
