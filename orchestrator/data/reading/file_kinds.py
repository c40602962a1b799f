"""Which files are images by their names, and which are what systems leave beside them."""

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
JUNK = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})


def is_junk(name: str) -> bool:
    """Tell whether a file is of no one's making, as ``Thumbs.db``, ``._x.jpg`` or ``__MACOSX/x``.

    Parameters
    ----------
    name
        Its path in a folder or an archive, or its name alone.
    """
    *folders, file = name.replace("\\", "/").split("/")
    return "__MACOSX" in (*folders, file) or file.startswith("._") or file.lower() in JUNK
