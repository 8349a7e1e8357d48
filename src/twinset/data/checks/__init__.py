"""Is this data fit for training? Copies, contradictions, leaks, tiny classes."""
