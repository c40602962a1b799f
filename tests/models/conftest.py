"""Keras computes with torch here, so that both sides of a comparison share their arithmetic."""

import os

os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is first imported
