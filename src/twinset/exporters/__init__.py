"""Keras encoders as graphs: uint8 `images` (batch, h, w[, 3]) in, `embeddings` (batch, d) out.

`onnx_layers` writes the layers it knows one by one, on any back end, in milliseconds. What it does
not know is left to Keras' own export. Nobody trusts either: `graph` checks each against Keras.
"""
