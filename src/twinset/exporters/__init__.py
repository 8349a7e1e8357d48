"""Keras encoders → ONNX graphs: uint8 `images` (batch, h, w[, 3]) in, `embeddings` (batch, d) out.

`layers` writes the layers it knows one by one, on any back end, in milliseconds. What it does not
know is `traced` by JAX. Nobody trusts either: `twinset.exporters.onnx_export` checks every graph.
"""
