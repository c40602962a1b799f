"""From the bytes of an image, wherever they lie, to pixels."""
