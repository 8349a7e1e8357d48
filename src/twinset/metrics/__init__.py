"""From embeddings and labels to a decision one can defend.

In: distances (p,), and which pairs are the same (p,). Out: rates, curves, thresholds, a report.
Takes arrays, so it imports no data and never Keras; computes in float64.
"""
