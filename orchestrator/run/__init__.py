"""The run directory, what a run leaves in it, and how far it is."""
