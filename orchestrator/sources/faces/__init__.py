"""Drawn faces: what they look like, by lot, and their drawing with NumPy and Pillow."""

from orchestrator.sources.faces.attributes import Face, Person
from orchestrator.sources.faces.draw import draw_face
from orchestrator.sources.faces.sampling import sample_face, sample_person

__all__ = ["Face", "Person", "draw_face", "sample_face", "sample_person"]
