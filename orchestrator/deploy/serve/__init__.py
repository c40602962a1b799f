"""A trained network behind HTTP: an app, and what runs the network, on Ray or without."""
