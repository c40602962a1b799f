"""The head's geometry: head units to pixels, smooth outlines.

Head units put the origin between the eyes; 1 is half the width of the face, v points down. The
proportions are those of an eye-aligned CelebA picture of 178x218: eyes 40 pixels apart around
(89, 111), the chin near row 178.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.sources.synthetic.face import Face

WIDTH, HEIGHT = 178, 218
EYES_AT = (89.0, 111.0)
UNIT = 45.0
"""Pixels a head unit."""

Array = NDArray[np.float32]
Points = NDArray[np.float64]


def points(*pairs: tuple[float, float]) -> Points:
    """Make an (n, 2) array of (u, v) in head units."""
    return np.array(pairs, dtype=np.float64)


def mirrored(half: Points) -> Points:
    """Close an outline whose right half, from top to bottom, is given."""
    left = half[::-1] * (-1.0, 1.0)
    return np.concatenate([half, left])


def smooth(control: Points, steps: int = 4, *, closed: bool = True) -> Points:
    """Run a Catmull-Rom spline through the control points, `steps` points a stretch."""
    return _spline(len(control), steps, closed) @ control


@cache
def _spline(n: int, steps: int, closed: bool) -> Points:
    """Return the matrix that turns n control points into points of the spline through them."""
    t = np.arange(steps) / steps
    basis = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    weight = np.stack([t**0, t, t**2, t**3], axis=1) @ basis
    identity = np.eye(n)
    if closed:
        around = np.concatenate([identity[-1:], identity, identity[:2]])
    else:  # the ends go on straight
        before, after = 2 * identity[0] - identity[1], 2 * identity[-1] - identity[-2]
        around = np.concatenate([before[None], identity, after[None]])
    rows = [weight @ around[k : k + 4] for k in range(len(around) - 3)]
    return np.concatenate(rows if closed else [*rows, identity[-1:]])


@dataclass(frozen=True, slots=True)
class Pose:
    """Turns head units into pixels: ``where @ turn + depth * forward + origin``."""

    unit: float
    """Pixels a head unit."""
    turn: Points
    forward: Points
    origin: Points

    @classmethod
    def of(cls, face: Face) -> "Pose":
        """Pose the head so that the point between the eyes lies where CelebA aligns it."""
        unit = UNIT * face.scale
        roll = np.array(
            [
                [math.cos(face.roll), math.sin(face.roll)],
                [-math.sin(face.roll), math.cos(face.roll)],
            ]
        )
        forward = unit * np.array([math.sin(face.yaw), math.sin(face.pitch)]) @ roll
        # the eyes lie 0.85 before the axis about which the head turns; most of that is undone
        origin = np.array(EYES_AT) + face.shift - 0.6 * 0.85 * forward
        return cls(unit, unit * np.diag([math.cos(face.yaw), 1.0]) @ roll, forward, origin)

    def pixels(self, where: Points, depth: float | Points = 0.0) -> Points:
        """Project (n, 2) head units, `depth` in front of the head's axis, to (n, 2) pixels."""
        out = where @ self.turn
        out += np.multiply.outer(depth, self.forward) + self.origin
        return out

    def pixel(self, u: float, v: float, depth: float = 0.0) -> tuple[float, float]:
        """Project one point."""
        x, y = (u, v) @ self.turn + depth * self.forward + self.origin
        return float(x), float(y)


def surface(where: Points) -> Points:
    """Return how far in front of the head's axis the face's surface lies at (n, 2) head units."""
    inside = 1.0 - (where[:, 0] / 1.12) ** 2 - ((where[:, 1] - 0.1) / 1.75) ** 2
    return 0.9 * np.sqrt(np.maximum(0.0, inside))


def face_outline(face: Face) -> Points:
    """Return the control points of the outline of skull, cheeks, jaw and chin."""
    person = face.person
    w, j = person.face_width, person.jaw
    chin = 1.5 * person.face_length + 0.06 * face.mouth_open
    return mirrored(
        points(
            (0.26, -1.42),
            (0.66, -1.22),
            (0.92 * w, -0.76),
            (0.98 * w, -0.25),
            (0.96 * w, 0.20),
            ((0.86 + 0.06 * j) * w, 0.62),
            ((0.65 + 0.16 * j) * w, 1.02),
            ((0.35 + 0.13 * j) * w, chin - 0.11),
            (0.12 + 0.08 * j, chin),
        )
    )


def chin_depth(outline: Points) -> Points:
    """Return the depth of the points of the face's outline: the chin lies well in front."""
    return np.clip((outline[:, 1] - 0.3) / 1.2, 0.0, 1.0) * 0.62
