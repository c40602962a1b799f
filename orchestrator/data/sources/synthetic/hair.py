"""Hair: the mass behind the head, the mass in front, and its strands."""

import numpy as np
from PIL import Image, ImageFilter

from orchestrator.data.sources.synthetic.face import Colour, Face
from orchestrator.data.sources.synthetic.head import Array, Points, Pose, points, smooth
from orchestrator.data.sources.synthetic.light import lamp
from orchestrator.data.sources.synthetic.raster import (
    Box,
    Sketch,
    axes,
    cut,
    mix,
    ramp,
    strands,
    to_image,
    wisps,
)

HAIR = (
    (0.0, (26, 21, 20)), (0.2, (52, 36, 28)), (0.4, (86, 58, 40)), (0.54, (124, 90, 62)),
    (0.66, (168, 132, 92)), (0.8, (208, 176, 126)), (1.0, (240, 222, 184)),
)  # fmt: skip
"""Hair by tone: black, dark brown, brown, light brown, dark blond, blond, platinum."""


def hair_colour(face: Face, tone: float) -> Colour:
    """Return the colour of hair of this tone in white light, with its red and grey."""
    colour = ramp(HAIR, min(1.0, max(0.0, tone)))
    colour = mix(colour, (150, 66, 36), 0.45 * face.red)
    return mix(colour, (176, 174, 172), 0.85 * face.grey)


def _thickness(face: Face) -> tuple[float, float]:
    """Return how far the hair stands off the skull above and beside it, in head units."""
    p = face.person
    much = p.hair_volume * (0.6 + 0.7 * p.curl)
    if face.hairstyle == "short":
        return 0.05 + 0.26 * much, 0.03 + 0.10 * much
    if face.hairstyle == "tied":
        return 0.04 + 0.05 * much, 0.02
    return 0.07 + 0.15 * much, 0.08 + 0.18 * much


def _outer_half(face: Face, side: int) -> Points:
    """Return one half of the hair's outer outline, crown to end, as if on the right."""
    w = face.person.face_width
    above, beside = _thickness(face)
    top = (0.0, -1.44 - above)
    above *= 1.0 - 0.35 * face.parting * side  # more hair lies on the far side of the parting
    crown = [top, (0.42, -1.37 - above), (0.78, -1.08 - 0.75 * above)]
    temple = [((0.97 + beside) * w, -0.60), ((1.02 + beside) * w, -0.2)]
    if face.hairstyle != "long":
        return points(*crown, *temple, ((1.0 + 0.3 * beside) * w, 0.05))
    end = face.hair_end
    flare = 0.06 + 0.26 * face.person.curl
    fall = [((1.03 + beside + flare * share) * w, 0.3 + at * (end - 0.3))
            for share, at in ((0.2, 0.08), (0.6, 0.4), (0.9, 0.75), (0.3, 1.0))]  # fmt: skip
    return points(*crown, *temple, *fall)


def _wavy(outline: Points, face: Face, side: int) -> Points:
    """Ruffle an outline: curls along it, wisps all over."""
    at = np.arange(len(outline)) * 0.55 + 3.0 * side
    phase = face.texture % 97
    wave = np.sin(at + phase) * np.sin(0.37 * at + 2.0 * phase) + 0.5 * np.sin(1.9 * at + phase)
    off = 0.05 * face.person.curl * wave + 0.014 * wisps(face.texture + 1000 * side, len(outline))
    radial = outline / (np.linalg.norm(outline, axis=1, keepdims=True) + 1e-6)
    off[:4] *= (0.0, 0.1, 0.4, 0.8)  # the halves meet at the crown
    ruffled: Points = outline + off[:, None] * radial
    return ruffled


def hair_masks(face: Face, pose: Pose) -> tuple[Image.Image, Image.Image]:
    """Return the masks of the hair behind the face and of the hair in front of it."""
    back, front = Sketch("L"), Sketch("L")
    if face.hairstyle == "bald":
        return back.image(), front.image()
    if face.hairstyle == "tied" and face.bun:
        back.disc(pose.pixel(0.0, -1.55, -0.5), 0.42 * pose.unit, 255, 0.8)
    for side in (-1, 1):
        outer = _wavy(smooth(_outer_half(face, side), closed=False), face, side)
        middle = points((-0.1, outer[-1, 1]), (-0.1, outer[0, 1]))
        back.polygon(pose.pixels(np.concatenate([outer, middle]) * (side, 1), -0.25), 255)
        inner = smooth(_inner_half(face, side), closed=False)
        inner[:, 1] += 0.022 * wisps(face.texture + 500 * side, len(inner))
        outline = np.concatenate([outer, _locks(outer[-1], inner[-1], face), inner[::-1]])
        front.polygon(pose.pixels(outline * (side, 1), 0.05), 255)
    if face.fringe > 0:
        front.polygon(pose.pixels(_fringe(face), 0.5), 255)
    return back.image(), front.image().filter(ImageFilter.BoxBlur(0.5))


def _locks(outer: Points, inner: Points, face: Face) -> Points:
    """Return the lower edge of a fall of hair: pointed locks of unequal length."""
    if face.hairstyle != "long":
        return np.empty((0, 2))
    share = np.linspace(0.0, 1.0, 9)[1:-1]
    edge = outer + (inner - outer) * share[:, None]
    edge[:, 1] += np.resize((0.10, -0.03), len(share)) * (1 + wisps(face.texture, len(share)))
    return edge


def _inner_half(face: Face, side: int) -> Points:
    """Return one half of the hair's edge towards the face, parting to end, as if on the right."""
    p = face.person
    part = face.parting * side
    recede = 0.32 * p.baldness
    sweep = face.sweep if face.hairstyle == "long" else 0.6 + 0.4 * face.sweep
    top = -1.10 + 0.14 * sweep - recede
    corner = -0.68 - 0.24 * sweep - 0.9 * recede
    rows = [(part - 0.25, top - 0.03), (part, top),  # the halves overlap at the parting
            (part + 0.45 * (0.62 - part), 0.5 * (top + corner) - 0.10),
            (0.60 + 0.08 * sweep, corner), (0.84 + 0.03 * sweep, corner + 0.32)]  # fmt: skip
    if face.hairstyle != "long":
        burn = 0.10 + 0.28 * (p.beard > 0.3)
        return points(*rows, (0.90, -0.2), (0.915, burn), (0.99, burn))
    cheek = 1.06 if face.tucked[side > 0] else 0.88
    fall = face.hair_end - 0.3
    rows += [(0.5 * (cheek + 0.88), -0.1), (cheek, 0.3), (cheek - 0.02, 0.3 + 0.3 * fall)]
    return points(*rows, (0.84, 0.3 + 0.65 * fall), (0.66, face.hair_end))


def _fringe(face: Face) -> Points:
    """Return hair that falls on the forehead, with a ragged edge."""
    depth = -0.95 + 0.52 * face.fringe
    u = np.linspace(-0.84, 0.84, 25)
    edge = depth - 0.12 * np.cos(u * 2.0 + face.parting * 3) + 0.16 * u**2
    edge += 0.05 * wisps(face.texture, len(u))
    hem = np.stack([u, edge], axis=1)
    return np.concatenate([points((0.86, -0.75), (0.5, -1.25), (-0.5, -1.25), (-0.86, -0.75)), hem])


def hair_texture(face: Face, pose: Pose, box: Box) -> Image.Image:
    """Paint a box as lit hair all over; the masks say where it shows."""
    x, y = axes(box)
    p, (t, _) = face.person, _thickness(face)
    v = (y - np.float32(pose.origin[1])) / np.float32(pose.unit)
    above = np.minimum(np.float32(0), v + np.float32(0.15)) / np.float32(1.28 + t)
    half = np.sqrt(np.maximum(np.float32(0.03), 1 - above * above)) * np.float32(1.1 + t)
    lean = np.float32(face.parting) * np.clip(-v - 0.2, 0, 1)  # strands run from the parting
    across = ((x - np.float32(pose.origin[0])) / np.float32(pose.unit) - lean) / half
    wave = np.sin(v * np.float32(7 + 5 * p.curl)) * np.float32(0.02 + 0.06 * p.curl)
    lock = (across + wave) * np.float32(40) + np.float32(face.texture % 4096)
    curls = strands()[lock.astype(np.int32) & 4095]
    strand = strands()[(4 * lock).astype(np.int32) & 4095]
    if p.curl > 0.3:  # ringlets: each lock turns at its own pace
        strand += np.float32(0.9 * p.curl) * np.sin(v * np.float32(16) + 5 * curls)
    strand += np.float32(0.7) * curls + np.float32(0.15) * cut(box, face.texture)
    light = _hair_light(face, across, above)
    light += np.float32(0.10) * strand
    arch = np.float32(0.35) * across * across + (v + np.float32(0.95))
    band = np.exp(arch * arch * np.float32(-20)) * (np.float32(0.6) + np.float32(0.4) * strand)
    band *= np.float32(40 * (1 - 0.6 * p.curl) * (0.5 + face.contrast))
    return _coloured(face, v, light, band)


def _hair_light(face: Face, across: Array, above: Array) -> Array:
    """Light the hair as a ball that ends in a cylinder."""
    to_x, to_y, to_z = lamp(face)
    side = np.clip(across, -1, 1)
    key = np.float32(0.35 + 0.35 * face.contrast)
    front = np.sqrt(1 - np.float32(0.95) * side * side)
    facing = side * np.float32(to_x) + front * np.float32(to_z) + above * np.float32(to_y)
    facing = np.maximum(0, facing * np.float32(0.75) + np.float32(0.3))
    light: Array = (1 - key) * np.float32(0.92) + key * facing
    return light


def _coloured(face: Face, v: Array, light: Array, shine: Array) -> Image.Image:
    """Colour light with the hair's colour, darker at the roots."""
    tips = np.array(hair_colour(face, face.hair_tone), dtype=np.float32)
    roots = np.array(hair_colour(face, face.hair_tone - face.roots), dtype=np.float32)
    grown = np.clip((v + np.float32(1.25)) * np.float32(1.1), 0, 1)
    colour = np.empty((3, *light.shape), dtype=np.float32)
    for k, (tip, root) in enumerate(zip(tips, roots, strict=True)):
        gleam = shine * (tip * np.float32(1 / 255) + np.float32(0.25))
        np.add((root + (tip - root) * grown) * light, gleam, out=colour[k])
    return to_image(colour)
