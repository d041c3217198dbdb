"""The teacher: prompts, rationale generation, and the filters that decide which rationales are kept."""
