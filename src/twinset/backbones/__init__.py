"""Networks that others trained, as ONNX graphs: images in, features out; never Keras."""
