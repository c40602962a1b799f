"""A face from its attributes: layers from the backdrop to the glasses, then the camera."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from orchestrator.data.sources.synthetic.backdrop import backdrop
from orchestrator.data.sources.synthetic.face import Face
from orchestrator.data.sources.synthetic.face_parts import (
    beard_mask,
    draw_brows,
    draw_ears,
    draw_eyes,
    draw_freckles,
    draw_mouth,
    draw_nose,
    draw_wrinkles,
    ear_outline,
    skin_colour,
)
from orchestrator.data.sources.synthetic.hair import hair_colour, hair_masks, hair_texture
from orchestrator.data.sources.synthetic.head import (
    HEIGHT,
    WIDTH,
    Array,
    Points,
    Pose,
    chin_depth,
    face_outline,
    points,
    smooth,
    surface,
)
from orchestrator.data.sources.synthetic.light import bells, face_light
from orchestrator.data.sources.synthetic.raster import (
    WHOLE,
    Box,
    Sketch,
    axes,
    corner,
    cut,
    film,
    planes,
    soft,
    to_image,
    unit,
)
from orchestrator.data.sources.synthetic.wear import draw_body, draw_glasses, shoulders

SUN_TINT = [round(0.93 * level) for level in range(256)]
"""Some light passes dark lenses."""


def draw_face(face: Face) -> Image.Image:
    """Draw a face as an RGB picture of 178x218."""
    pose = Pose.of(face)
    picture = backdrop(face)
    back, front = hair_masks(face, pose)
    box = ImageChops.lighter(back, front).getbbox()
    hair = hair_texture(face, pose, box) if box else None
    if hair:
        shaded = Image.blend(Image.new("RGB", hair.size), hair, 0.62)
        picture.paste(shaded, box, back.crop(box))
    _add_figure(picture, face, pose, front)
    if hair:
        picture.paste(hair, box, front.crop(box))
    if face.spectacles != "none":
        _put_on_glasses(picture, face, pose)
    return _photograph(picture, face)


def _add_figure(picture: Image.Image, face: Face, pose: Pose, front: Image.Image) -> None:
    """Draw head, neck and clothes, light them, and paste them."""
    outline = smooth(face_outline(face))
    head = pose.pixels(outline, chin_depth(outline))
    flat = _sketch(face, pose, head)
    cover, oval = Sketch("L"), Sketch("L")
    cover.polygon(pose.pixels(smooth(shoulders(face)), -0.2), 255)
    for side in (-1, 1):
        cover.polygon(pose.pixels(ear_outline(face, side), -0.1), 255)
    cover.polygon(head, 255)
    oval.polygon(head, 255)
    picture.paste(_lit(flat, face, pose, oval.image(), front), (0, 0), cover.image())


def _sketch(face: Face, pose: Pose, head: Points) -> Image.Image:
    """Draw head, neck and clothes in flat colour; around them, clothes."""
    skin = skin_colour(face)
    sketch = Sketch("RGB", face.clothes_colour)
    draw_body(sketch, face, pose, skin)
    draw_ears(sketch, face, pose, skin)
    sketch.polygon(head, skin)
    if face.person.freckles > 0:
        draw_freckles(sketch, face, pose, skin)
    draw_wrinkles(sketch, face, pose, skin)
    draw_nose(sketch, face, pose, skin)
    draw_eyes(sketch, face, pose, skin)
    draw_brows(sketch, face, pose, skin, hair_colour(face, min(face.hair_tone, 0.6)))
    draw_mouth(sketch, face, pose, skin)
    flat = sketch.image()
    mask = beard_mask(face, pose)
    if mask:
        _grow_beard(flat, face, mask)
    return flat


def _grow_beard(flat: Image.Image, face: Face, mask: Image.Image) -> None:
    grown = np.minimum(soft(mask, 3.0), np.float32(0.10) + unit(mask))
    grown *= 255 * (1 + np.float32(0.14) * cut(WHOLE, face.texture + 7))
    grown = np.clip(grown, 0, 235)
    colour = hair_colour(face, 0.85 * min(face.hair_tone, 0.55))
    flat.paste(colour, (0, 0), Image.fromarray(grown.astype(np.uint8)))


def _lit(
    flat: Image.Image, face: Face, pose: Pose, oval: Image.Image, front: Image.Image
) -> Image.Image:
    """Light the figure: the body as a cylinder below the head's shadow, the face by its relief."""
    box = oval.getbbox() or WHOLE
    inside = (slice(box[1], box[3]), slice(box[0], box[2]))
    diffuse, gloss = face_light(face, pose, box)
    on_face = unit(oval.crop(box))
    light = _body_light(face, pose) - np.float32(0.42) * soft(oval, 9.0, (-3 * face.light[0], 16.0))
    light[inside] += on_face * (diffuse - light[inside])
    light *= 1 - np.float32(0.38) * soft(front, 5.0, (-2 * face.light[0], 4.0))
    colour = planes(flat, WHOLE)
    # shadows on skin stay warm: red falls off less than green and blue
    colour[0] *= np.float32(0.10) + np.float32(0.90) * light
    colour[1] *= light
    colour[2] *= np.float32(1.03) * light - np.float32(0.03)
    blush = on_face * _blush(face, pose, box)
    colour[(slice(1, 3), *inside)] *= 1 - blush
    colour[(slice(None), *inside)] += on_face * gloss * np.float32(20 * (0.4 + face.contrast))
    return to_image(colour)


def _body_light(face: Face, pose: Pose) -> Array:
    x, _ = axes(WHOLE)
    turn = (x - np.float32(pose.origin[0])) / np.float32(2.2 * pose.unit)
    light = np.float32(0.25 * face.light[0]) * turn - np.float32(0.25) * turn * turn
    return np.repeat(light + np.float32(0.86), HEIGHT, axis=0)


def _blush(face: Face, pose: Pose, box: Box) -> Array:
    """Return by how much cheeks and nose absorb green and blue."""
    where = points((-0.58, 0.42), (0.58, 0.42), (0.0, 0.5))
    amount = np.float32(0.06 + 0.11 * face.makeup)
    return bells(pose.pixels(where, surface(where)), (8.0, 7.0), box) * amount


def _put_on_glasses(picture: Image.Image, face: Face, pose: Pose) -> None:
    frame, lens, glare = draw_glasses(face, pose)
    if face.spectacles == "sun":
        picture.paste(face.lens_colour, (0, 0), lens.point(SUN_TINT))
    picture.paste((235, 240, 246), (0, 0), glare)
    picture.paste(face.frame_colour, (0, 0), frame)


def _photograph(picture: Image.Image, face: Face) -> Image.Image:
    """Tint, expose, blur and add noise, as a camera would."""
    if face.blur > 0:
        picture = picture.filter(ImageFilter.GaussianBlur(face.blur))
    gain = face.exposure * (1 + face.warmth * np.array([[0.07], [0.0], [-0.11]]))
    picture = picture.point(np.minimum(255, gain * np.arange(256)).ravel().astype(int).tolist())
    if face.noise > 0:
        left, top = corner(face.texture // 3)
        piece = film(face.noise).crop((left, top, left + WIDTH, top + HEIGHT))
        picture = ImageChops.add(picture, piece, offset=-128)
    return picture
