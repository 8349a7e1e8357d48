"""Batches of images → embeddings. The only stage that imports Keras.

In: `LabelledImages`, index pairs, a `Recipe`. Out: a `SiameseModel`, which turns uint8 images
into embeddings of shape (n, d), float32.

Keras chooses its back end once, at its first import. twinset asks for JAX, unless the environment
variable KERAS_BACKEND or an earlier `import keras` chose.
"""

import os

# ~/.keras/keras.json is no choice to respect: Keras itself writes it, naming TensorFlow, at the
# first import on every machine.
os.environ.setdefault("KERAS_BACKEND", "jax")
# TensorFlow prints its CPU's instruction sets at every import.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
