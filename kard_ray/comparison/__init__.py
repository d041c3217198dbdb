"""What a comparison of students tells: cells, rows, pairs, and the report with plots and examples."""
