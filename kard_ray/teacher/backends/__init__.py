"""Who writes for the teacher: vLLM, an OpenAI-compatible endpoint, or a file of recorded rationales."""
