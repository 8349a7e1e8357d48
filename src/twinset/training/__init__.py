"""Training: labelled images and a recipe in, a model out; compiled loops on JAX, else Keras' own.

`fit` is the front. Every random choice is a function of seed, epoch and step, so a training that
was interrupted continues to the same weights.
"""
