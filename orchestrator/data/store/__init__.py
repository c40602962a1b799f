"""A prepared data set: opened, checked, read into memory or streamed."""
