"""What every stage stands on: configuration, artifacts, models by reference, the Ray session."""
