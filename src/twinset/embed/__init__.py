"""Batches of images → embeddings. The only stage that imports Keras.

In: `LabelledImages`, index pairs, a `Recipe`. Out: a `SiameseModel`, which turns uint8 images
into embeddings of shape (n, d), float32.
"""
