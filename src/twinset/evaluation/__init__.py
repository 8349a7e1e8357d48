"""Whole evaluations: of a model, of two models side by side, of a recipe over seeds and folds."""
