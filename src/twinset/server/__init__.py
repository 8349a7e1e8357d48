"""The HTTP server: images in, verdicts and neighbours out as JSON, and a page; never Keras."""
