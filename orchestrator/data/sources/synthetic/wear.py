"""Neck, clothes and glasses."""

import math

import numpy as np
from PIL import Image, ImageChops

from orchestrator.data.sources.synthetic.face import Colour, Face
from orchestrator.data.sources.synthetic.face_parts import EYE_U, darker
from orchestrator.data.sources.synthetic.head import Points, Pose, mirrored, points, smooth
from orchestrator.data.sources.synthetic.raster import Sketch, mix


def shoulders(face: Face) -> Points:
    """Return the outline of neck and shoulders."""
    p = face.person
    n, s = p.neck_width, p.shoulder_width
    return mirrored(
        points((0.3, 0.6), (n, 0.8), (n, 1.35), (n + 0.08, 1.58), (n + 0.35, 1.74),
               (s * 0.8, 1.92), (s, 2.12), (s + 0.15, 2.6), (s + 0.15, 3.2))
    )  # fmt: skip


def draw_body(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw neck, shoulders and clothes."""
    body = smooth(shoulders(face))
    sketch.polygon(pose.pixels(body, -0.2), face.clothes_colour)
    p = face.person
    n = p.neck_width
    low = 1.72 + (0.0 if face.collar else 0.55 * face.neckline)
    wide = n + 0.12 + 0.25 * face.neckline
    throat = [(0.3, 0.6), (n + 0.08, 0.8), (n + 0.08, 1.40), (wide, 1.66)]  # a body's edge cuts it
    if face.neckline > 0.6 and not face.collar:
        opening = points(*throat, (0.05, low))
    else:
        opening = points(*throat, (0.62 * wide, low - 0.05), (0.1, low))
    sketch.polygon(pose.pixels(smooth(mirrored(opening)), -0.1), darker(skin, 0.06))
    if face.collar:
        _draw_collar(sketch, face, pose)


def _draw_collar(sketch: Sketch, face: Face, pose: Pose) -> None:
    n = face.person.neck_width
    shirt = mix(face.clothes_colour, (246, 244, 240), 0.75)
    for side in (-1, 1):
        flap = points((n - 0.02, 1.38), (n + 0.2, 1.6), (n - 0.05, 2.05), (0.05, 1.82)) * (side, 1)
        sketch.polygon(pose.pixels(flap, -0.05), shirt)
        sketch.line(pose.pixels(flap[1:3], -0.05), mix(shirt, (60, 60, 70), 0.3), 0.8)


def lens_outline(face: Face, side: int) -> Points:
    """Return the outline of one lens, round to rectangular."""
    square = face.frame_shape
    sun = face.spectacles == "sun"
    half = 0.31 if sun else 0.28
    tall = (0.27 if sun else 0.22) - 0.05 * square
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 1.0 - 0.55 * square  # a superellipse
    c, s = np.cos(angle), np.sin(angle)
    u = half * np.sign(c) * np.abs(c) ** power
    v = tall * np.sign(s) * np.abs(s) ** power + 0.04
    return np.stack([u + side * (EYE_U + 0.01), v], axis=1)


def draw_glasses(face: Face, pose: Pose) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Return the masks of the frame, of the lenses and of the glare on them."""
    frame, lens, glare = Sketch("L"), Sketch("L"), Sketch("L")
    streak = points((-0.14, -0.3), (0.04, -0.3), (-0.10, 0.35), (-0.28, 0.35))
    for side in (-1, 1):
        outline = pose.pixels(lens_outline(face, side), 0.98)
        lens.polygon(outline, 255)
        shine = streak + np.array([side * EYE_U + 0.25 * math.sin(face.light[0]), 0.04])
        glare.polygon(pose.pixels(shine, 0.98), 46)
        frame.line(np.concatenate([outline, outline[:2]]), 255, face.frame_width)
        hinge = points((side * (EYE_U + 0.28), -0.02), (side * face.person.face_width, -0.06))
        path = np.stack([pose.pixels(hinge[:1], 0.95)[0], pose.pixels(hinge[1:], 0.05)[0]])
        frame.line(path, 255, face.frame_width)
    bridge = smooth(points((-0.17, 0.0), (0.0, -0.05), (0.17, 0.0)), closed=False)
    frame.line(pose.pixels(bridge, 1.02), 255, face.frame_width)
    lenses = lens.image()
    return frame.image(), lenses, ImageChops.multiply(lenses, glare.image())
