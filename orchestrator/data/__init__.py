"""Faces, from their sources to the rows that a training draws: splits, balance, order, folds."""
