"""Labelled images: where they come from, how they are checked, split, paired and batched.

In: files, archives, arrays. Out: `LabelledImages`, uint8 pixels of shape (n, h, w) or
(n, h, w, 3) with one label each, and index arrays that say which images make a pair or a batch.
Pixels are never copied to make pairs. Needs numpy and Pillow, never Keras.

Begin with `data_set`, which reads a data set by its place, and `load`, which divides one for a run.
`sources` list images as a `listing` of `image_sources`, `decoding` and `cache` make pixels of them,
`labelled` is the result. `checks` look for trouble, `parts` and `split` divide, `pairs` pair,
`batches` batch; modules called `pair_…` are about pairs that people judged.
"""
