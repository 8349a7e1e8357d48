"""Labelled images: where they come from, how they are checked, split, paired and batched.

In: files, archives, arrays. Out: `LabelledImages`, uint8 pixels of shape (n, h, w) or
(n, h, w, 3) with one label each, and index arrays that say which images make a pair or a batch.
Pixels are never copied to make pairs. Needs numpy and Pillow, never Keras.
"""
