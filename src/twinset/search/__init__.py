"""Indexes: embeddings with names in; neighbours and groups of duplicates out; never Keras.

In: `Items`, that is n ids, vectors (n, d) float32, and what is known of each. Out: for each query
a list of `Neighbour`, nearest first. `open_store` and `create_store` choose the place by its URL.
"""
