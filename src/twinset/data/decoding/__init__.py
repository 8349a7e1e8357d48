"""One image file, bytes or array → the pixels a model takes, by one code for training and use."""
