"""A trained model in use, on Keras or ONNX Runtime: images in, embeddings and verdicts out."""
