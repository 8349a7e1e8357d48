"""Batches of images → embeddings. The only stage that imports Keras.

In: `LabelledImages`, index pairs, a `Recipe`. Out: an `Embedder`, which turns uint8 images
into embeddings of shape (n, d), float32.
"""
