"""Brows, eyes, nose, mouth, ears and beard, drawn in flat colour; light comes later."""

import numpy as np
from PIL import Image

from orchestrator.data.sources.synthetic.face import Colour, Face
from orchestrator.data.sources.synthetic.head import (
    Points,
    Pose,
    chin_depth,
    face_outline,
    points,
    smooth,
    surface,
)
from orchestrator.data.sources.synthetic.light import lamp
from orchestrator.data.sources.synthetic.raster import Sketch, mix, ramp

SKIN = (
    (0.0, (240, 204, 182)), (0.3, (229, 184, 154)), (0.55, (212, 162, 128)),
    (0.75, (180, 130, 96)), (0.9, (138, 94, 68)), (1.0, (100, 68, 52)),
)  # fmt: skip
"""Skin by melanin; most faces lie in the first half."""
IRIS = ((0.0, (62, 38, 24)), (0.45, (98, 64, 36)), (0.7, (104, 110, 74)), (1.0, (92, 128, 160)))
LIPSTICK = (
    (0.0, (196, 70, 84)),
    (0.35, (204, 96, 112)),
    (0.7, (172, 34, 50)),
    (1.0, (122, 34, 64)),
)
EYE_U = 0.44


def skin_colour(face: Face) -> Colour:
    """Return the skin's colour in white light."""
    plain = ramp(SKIN, face.person.melanin)
    tilt = face.person.undertone
    target = (226, 190, 130) if tilt > 0 else (236, 160, 150)
    return mix(plain, target, 0.12 * abs(tilt))


def darker(colour: Colour, share: float) -> Colour:
    """Darken a skin colour towards a warm shadow."""
    return mix(colour, (72, 30, 22), share)


def draw_ears(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw both ears, to be partly covered by the face."""
    for side in (-1, 1):
        outline = ear_outline(face, side)
        centre = outline.mean(axis=0)
        sketch.polygon(pose.pixels(outline, -0.1), darker(skin, 0.1))
        sketch.polygon(pose.pixels((outline - centre) * 0.58 + centre, -0.1), darker(skin, 0.28))
        if face.earrings:
            lobe = (centre[0], centre[1] + 0.36)
            sketch.disc(pose.pixel(*lobe, -0.1), 2.2, (236, 214, 150))


def ear_outline(face: Face, side: int) -> Points:
    """Return the outline of an ear; the part towards the face is covered by it."""
    right = points((-0.05, -0.28), (0.12, -0.27), (0.16, -0.06), (0.09, 0.2), (0.0, 0.32))
    return smooth(right + np.array([0.95 * face.person.face_width, 0.16])) * (side, 1)


def draw_brows(sketch: Sketch, face: Face, pose: Pose, skin: Colour, hair: Colour) -> None:
    """Draw the eyebrows: their thickness and arch are soft cues of gender."""
    p = face.person
    thick = 0.055 + 0.085 * p.brow_thickness
    arch = 0.02 + 0.10 * p.brow_arch
    base = -0.25 - 0.03 * face.brow_lift - 0.03 * (1 - p.brow_ridge)
    centre = points((0.17, base), (0.36, base - 0.5 * arch), (0.57, base - 0.8 * arch),
                    (0.77, base + 0.06))  # fmt: skip
    width = np.array([0.8, 1.0, 0.75, 0.1])[:, None] * (0.0, thick / 2)
    outline = np.concatenate([centre - width, (centre + width)[::-1]])
    outline = smooth(outline)
    tint = mix(mix(hair, (44, 30, 24), 0.45), skin, 0.30 - 0.2 * p.brow_thickness)
    for side in (-1, 1):
        here = outline * (side, 1)
        sketch.polygon(pose.pixels(here, surface(here)), tint)


def draw_eyes(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw the eyes: white, iris, pupil, glint, lids, lashes."""
    for side in (-1, 1):
        _draw_eye(sketch, face, pose, skin, side)


def _draw_eye(sketch: Sketch, face: Face, pose: Pose, skin: Colour, side: int) -> None:
    makeup = face.makeup
    upper, lower, crease, over, under = _eye_arcs(face, pose, side)
    sketch.polygon(np.concatenate([upper, lower[::-1]]), (238, 232, 228))
    _draw_iris(sketch, face, pose, side)
    # skin and lids cover what of the iris lies outside the opening
    shadow = mix(darker(skin, 0.10), (112, 84, 104), 0.45 * makeup)
    sketch.polygon(np.concatenate([upper, over[::-1]]), skin)
    sketch.polygon(np.concatenate([upper, crease[::-1]]), shadow)
    sketch.polygon(np.concatenate([lower, under[::-1]]), skin)
    sketch.line(crease[7:-4], darker(skin, 0.32), 0.8)
    sketch.line(lower[3:], darker(skin, 0.35 + 0.35 * makeup), 0.6)
    lash = mix((58, 36, 28), (18, 12, 12), min(1.0, 0.4 + makeup))
    if makeup > 0.35:  # a wing of eyeliner
        wing = np.array([0.06 * side, -0.045]) * pose.unit
        upper = np.concatenate([upper, upper[-1:] + wing])
    sketch.line(upper[1:], lash, 1.1 + 1.1 * makeup)


def _eye_arcs(face: Face, pose: Pose, side: int) -> Points:
    """Return upper lid, lower lid, crease and the bounds above and below, (5, 17, 2) pixels."""
    size = face.person.eye_size
    up, down = 0.125 * size * face.eyes_open, 0.08 * size
    down *= 1.0 - 0.35 * max(0.0, face.smile)  # cheeks rise in a smile
    u = np.array([-1.0, -0.5, 0.05, 0.6, 1.0]) * 0.21 * size + EYE_U
    heights = [
        (0.03, -0.72 * up, -up, -0.72 * up, -0.025),
        (0.03, 0.75 * down, down, 0.8 * down, -0.025),
        (-0.04, -up - 0.035, -up - 0.07, -up - 0.05, -0.09),
        (-0.10, -up - 0.10, -up - 0.15, -up - 0.12, -0.10),
        (0.06, down + 0.10, down + 0.13, down + 0.10, 0.06),
    ]
    control = np.stack([u * side, *np.array(heights)], axis=1)
    curves = smooth(control, closed=False)
    where = np.stack([np.tile(curves[:, 0], 5), curves[:, 1:].T.ravel()], axis=1)
    return pose.pixels(where, surface(where)).reshape(5, -1, 2)


def _draw_iris(sketch: Sketch, face: Face, pose: Pose, side: int) -> None:
    u, v = EYE_U * side + 0.05 * face.gaze, -0.02
    depth = float(surface(points((u, v)))[0])
    centre = pose.pixel(u, v, depth)
    colour = ramp(IRIS, face.person.eye_hue * (1.0 - 0.6 * face.person.melanin))
    radius = 0.108 * pose.unit * face.person.eye_size
    sketch.disc(centre, radius, mix(colour, (16, 12, 12), 0.55))
    sketch.disc(centre, 0.82 * radius, colour)
    sketch.disc(centre, 0.44 * radius, (12, 10, 12))
    to_x, to_y, _ = lamp(face)
    glint = (centre[0] + 0.45 * radius * to_x, centre[1] + 0.45 * radius * min(-0.5, to_y))
    sketch.disc(glint, 0.24 * radius, (252, 252, 252))


def draw_nose(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw nostrils and wings; the ridge comes from the light."""
    p = face.person
    tip, wide = 0.54 * p.nose_length, 0.15 * p.nose_width
    for side in (-1, 1):
        wing = points(
            (wide + 0.055, tip - 0.04), (wide + 0.075, tip + 0.03), (wide + 0.03, tip + 0.075)
        )
        path = smooth(wing * (side, 1), closed=False)
        sketch.line(pose.pixels(path, 0.86), darker(skin, 0.24), 0.9)
        hole = smooth(points((0.04, 0.075), (0.10, 0.045), (0.155, 0.075), (0.09, 0.095)))
        hole = hole * (side * p.nose_width, 1) + (0, tip)
        sketch.polygon(pose.pixels(hole, 0.95), darker(skin, 0.62))
    base = smooth(points((-0.06, tip + 0.1), (0, tip + 0.12), (0.06, tip + 0.1)), closed=False)
    sketch.line(pose.pixels(base, 0.98), darker(skin, 0.22), 0.8)


def mouth_outlines(face: Face) -> tuple[Points, Points, Points]:
    """Return upper lip, opening and lower lip, closed outlines in head units."""
    p = face.person
    half = 0.36 * p.mouth_width * (1 + 0.16 * face.smile)
    full = 0.04 + 0.07 * p.lip_fullness
    gap = 0.06 + 0.10 * face.mouth_open + 0.05 * face.smile if shows_teeth(face) else 0.015
    line = 0.89 + 0.02 * face.smile
    corner = 0.90 - 0.09 * face.smile
    left, right = (-half, corner), (half, corner)
    top = [left, (-0.5 * half, line - 0.8 * full), (-0.17 * half, line - 1.2 * full),
           (0.0, line - 0.95 * full), (0.17 * half, line - 1.2 * full),
           (0.5 * half, line - 0.8 * full), right]  # fmt: skip
    above = [(0.5 * half, line + 0.005), (0.0, line + 0.015), (-0.5 * half, line + 0.005)]
    below = [(-0.5 * half, line + 0.7 * gap), (0.0, line + gap), (0.5 * half, line + 0.7 * gap)]
    under = [(0.55 * half, line + gap + 1.05 * full), (0.0, line + gap + 1.6 * full),
             (-0.55 * half, line + gap + 1.05 * full)]  # fmt: skip
    upper = smooth(points(*top, *above))
    opening = smooth(points(left, *above[::-1], right, *below[::-1]))
    lower = smooth(points(left, *below, right, *under))
    return upper, opening, lower


def shows_teeth(face: Face) -> bool:
    """Tell whether the lips part."""
    return face.mouth_open > 0.1 or face.smile > 0.55


def draw_mouth(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw the lips, and the teeth where the mouth is open."""
    natural = mix(skin, (176, 82, 82), 0.42)
    lips = mix(natural, ramp(LIPSTICK, face.lipstick_hue), min(1.0, 1.3 * face.makeup))
    upper, opening, lower = mouth_outlines(face)

    def pixels(where: Points) -> Points:
        return pose.pixels(where, surface(where) + 0.06)

    sketch.polygon(pixels(lower), mix(lips, (255, 210, 200), 0.08))
    sketch.polygon(pixels(upper), mix(lips, (90, 24, 28), 0.16))
    sketch.polygon(pixels(opening), (84, 26, 28) if shows_teeth(face) else darker(lips, 0.6))
    if shows_teeth(face):
        top = opening[:, 1].min()
        teeth = (opening - (0.0, top)) * (0.86, 0.72) + (0.0, top + 0.012)
        sketch.polygon(pixels(teeth), (240, 234, 224))
    dimple = opening[0] + points((-0.015, -0.01), (-0.03, 0.03))
    for side in (-1, 1):
        sketch.line(pixels(dimple * (side, 1)), darker(skin, 0.3), 0.8)


def draw_freckles(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Dot cheeks and nose."""
    lot = np.random.default_rng(face.texture)
    many = int(40 * face.person.freckles)
    where = lot.normal((0.0, 0.36), (0.42, 0.12), (many, 2))
    for x, y in pose.pixels(where, surface(where)):
        sketch.disc((x, y), 0.7, darker(skin, 0.2))


def draw_wrinkles(sketch: Sketch, face: Face, pose: Pose, skin: Colour) -> None:
    """Draw the folds beside the nose and, with age, below the eyes and on the forehead."""
    p = face.person
    depth = 0.05 + 0.12 * p.age + 0.06 * max(0.0, face.smile)
    fold = points((0.23, 0.56), (0.34, 0.70), (0.42, 0.84 + 0.06 * p.age))
    bag = points((0.28, 0.14), (0.42, 0.20), (0.56, 0.15))
    lines = [(fold, depth), (bag, 0.04 + 0.12 * p.age)]
    for side in (-1, 1):
        for control, share in lines:
            path = smooth(control * (side, 1), closed=False)
            sketch.line(pose.pixels(path, surface(path)), darker(skin, share), 0.9)
    if p.age > 0.5:
        for v in (-0.52, -0.66):
            path = smooth(points((-0.35, v), (0.0, v - 0.03), (0.35, v)), closed=False)
            sketch.line(pose.pixels(path, 0.7), darker(skin, 0.25 * p.age - 0.05), 0.8)


def beard_mask(face: Face, pose: Pose) -> Image.Image | None:
    """Return where beard and moustache grow, an L mask, or None without them."""
    if face.beard == 0.0:
        return None
    sketch = Sketch("L")
    outline = smooth(face_outline(face))
    jaw = outline[outline[:, 1] > 0.25]
    jaw = jaw * (1.0, 1.0 + 0.06 * max(0.0, face.beard - 0.6))
    cheek = points((-0.62, 0.62), (-0.42, 0.74), (0.0, 0.70), (0.42, 0.74), (0.62, 0.62))
    whole = np.concatenate([pose.pixels(jaw, chin_depth(jaw)), pose.pixels(cheek, surface(cheek))])
    sketch.polygon(whole, round(255 * min(1.0, face.beard * 1.1)))
    lip = smooth(points((-0.42, 0.98), (-0.36, 0.76), (-0.12, 0.68), (0.12, 0.68), (0.36, 0.76),
                        (0.42, 0.98), (0.3, 0.86), (-0.3, 0.86)))  # fmt: skip
    sketch.polygon(pose.pixels(lip, surface(lip)), round(255 * min(1.0, face.moustache * 1.1)))
    upper, _, lower = mouth_outlines(face)
    for hole in (upper, lower):
        sketch.polygon(pose.pixels(hole, surface(hole) + 0.06), 0)
    return sketch.image()
