"""Numbers about a model, from embeddings and labels: rates, curves, thresholds, retrieval.

In: distances (p,), and which pairs are the same (p,). Out: rates, curves, thresholds, a report.
Takes arrays, so it imports no data and never Keras; computes in float64.
"""
