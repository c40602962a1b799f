"""Drawn faces: who they are and what they look like, by lot, and their drawing."""
