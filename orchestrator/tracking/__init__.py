"""Runs in the experiment trackers that people have: MLflow, and Weights & Biases."""
