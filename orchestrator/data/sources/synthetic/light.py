"""Light and shade: a height field of the face, lit by one soft lamp and the sky."""

import math

import numpy as np

from orchestrator.data.sources.synthetic.face import Face
from orchestrator.data.sources.synthetic.head import Array, Points, Pose, surface
from orchestrator.data.sources.synthetic.raster import Box, axes


def lamp(face: Face) -> tuple[float, float, float]:
    """Return the unit vector towards the lamp (x right, y down, z towards the viewer)."""
    azimuth, elevation = face.light
    return (
        math.sin(azimuth) * math.cos(elevation),
        -math.sin(elevation),
        math.cos(azimuth) * math.cos(elevation),
    )


def bumps(face: Face) -> tuple[Points, Points]:
    """Return the face's relief as Gaussian bumps.

    Returns
    -------
    where
        (k, 2) centres in head units.
    shape
        (k, 3): spread along u and v in head units, and height in head units.
    """
    p = face.person
    nose = 0.54 * p.nose_length
    wide = 0.15 * p.nose_width
    ridge = 0.03 + 0.05 * p.brow_ridge
    cheek = 0.05 + 0.03 * max(0.0, face.smile)
    rows = [
        # u, v, spread u, spread v, height
        (0.0, 0.2, 0.095, 0.24, 0.07),
        (0.0, nose - 0.04, 0.13 * p.nose_width, 0.13, 0.15),
        (-wide, nose + 0.02, 0.075, 0.07, 0.05),
        (wide, nose + 0.02, 0.075, 0.07, 0.05),
        (-0.42, -0.02, 0.20, 0.13, -0.075),
        (0.42, -0.02, 0.20, 0.13, -0.075),
        (-0.40, -0.27, 0.24, 0.08, ridge),
        (0.40, -0.27, 0.24, 0.08, ridge),
        (-0.60, 0.42, 0.22, 0.18, cheek),
        (0.60, 0.42, 0.22, 0.18, cheek),
        (-0.33, 0.62, 0.07, 0.20, -0.016 - 0.02 * p.age),
        (0.33, 0.62, 0.07, 0.20, -0.016 - 0.02 * p.age),
        (0.0, 0.88, 0.30, 0.18, 0.06),
        (0.0, 0.72, 0.05, 0.07, -0.015),
        (0.0, 1.11, 0.17, 0.055, -0.04),
        (0.0, 1.31, 0.19, 0.12, 0.07),
    ]
    table = np.array(rows)
    return table[:, :2], table[:, 2:]


def face_light(face: Face, pose: Pose, box: Box) -> tuple[Array, Array]:
    """Light the face in a box.

    Returns
    -------
    diffuse
        (height, width) float32, the factor on the skin's colour.
    gloss
        (height, width) float32, 0 to 1, the highlight.
    """
    x, y = axes(box)
    slope_x, slope_y = _skull_slopes(face, pose, x, y)
    where, shape = bumps(face)
    centre = pose.pixels(where, surface(where)).astype(np.float32)
    spread = (shape[:, :2] * pose.unit).astype(np.float32)
    height = (shape[:, 2] * pose.unit).astype(np.float32)
    along_x = (x - centre[:, :1]) / spread[:, :1]
    along_y = (y.T - centre[:, 1:]) / spread[:, 1:]
    bell_x = np.exp(-0.5 * along_x**2) * height[:, None]
    bell_y = np.exp(-0.5 * along_y**2)
    slope_x = slope_x - bell_y.T @ (bell_x * along_x / spread[:, :1])
    slope_y = slope_y - (bell_y * along_y / spread[:, 1:]).T @ bell_x
    return _lit(face, -slope_x, -slope_y)


def _skull_slopes(face: Face, pose: Pose, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the slopes of the ellipsoid below the relief (the height falls outwards)."""
    across = pose.unit * 1.14 * face.person.face_width
    centre_x, centre_y = pose.pixel(0.0, 0.12, 0.35)
    p = (x - np.float32(centre_x)) / np.float32(across)
    q = (y - np.float32(centre_y)) / np.float32(pose.unit * 1.85)
    z = np.sqrt(np.maximum(np.float32(0.12), 1 - p * p - q * q))
    return -0.8 * p / z, -0.5 * q / z


def _lit(face: Face, normal_x: Array, normal_y: Array) -> tuple[Array, Array]:
    """Light a surface whose normals are (normal_x, normal_y, 1) before normalisation."""
    to_x, to_y, to_z = (np.float32(c) for c in lamp(face))
    length = np.sqrt(normal_x * normal_x + normal_y * normal_y + 1)
    facing = (normal_x * to_x + normal_y * to_y + to_z) / length
    wrapped = np.maximum(np.float32(0), (facing + np.float32(0.35)) * np.float32(1 / 1.35))
    key = np.float32(0.35 + 0.45 * face.contrast)
    # the sky fills from above and in front, so that shadows keep form
    fill = (1 - key) * (np.float32(0.75) + np.float32(0.25) * (1 - normal_y) / length)
    diffuse = (key * 1.12) * wrapped + fill
    gloss = np.maximum(np.float32(0), facing)
    for _ in range(4):  # to the 16th power, faster than by `**`
        gloss *= gloss
    return diffuse, gloss


def bells(centres: Points, spreads: tuple[float, float], box: Box) -> Array:
    """Return the sum of Gaussians at (k, 2) pixels in a box."""
    x, y = axes(box)
    at = centres.astype(np.float32)
    along_x = np.exp(-0.5 * ((x - at[:, :1]) / np.float32(spreads[0])) ** 2)
    along_y = np.exp(-0.5 * ((y.T - at[:, 1:]) / np.float32(spreads[1])) ** 2)
    field: Array = along_y.T @ along_x
    return field
