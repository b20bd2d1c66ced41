"""From a picture, whosever it is, to the pixels that a network looks at; without torch, which costs 200 MB."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

from feature_repo.errors import InputError

MOST_BYTES = 5_000_000
"""Of a picture that somebody sends."""
MOST_PIXELS = 25_000_000
"""Of these: a file of some kilobytes can say that it has billions."""
KINDS = ("JPEG", "PNG", "WEBP")

NOT_A_PICTURE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
"""What Pillow raises for a file that it cannot read."""

_MANY_PIXELS = 4_000_000
"""From here on a picture is made smaller before anything else: each step on the way is another copy of it."""


def as_pixels(picture: Image.Image, width: int, height: int) -> np.ndarray:
    """A picture of any size and kind as uint8 (height, width, 3): the right way up, whole, on white.

    Raises:
        OSError: its data are damaged.
    """
    # JPEGs are decoded at an eighth of their size where that is enough.
    picture.draft("RGB", (2 * width, 2 * height))
    picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture)
    picture = picture.convert("RGB")
    # Pictures of nearly this shape are stretched a little, others get a white margin.
    if abs(picture.width * height / (picture.height * width) - 1) < 0.05:
        picture = picture.resize((width, height), Image.Resampling.BOX)
    else:
        picture = ImageOps.pad(picture, (width, height), Image.Resampling.BOX, color="white")
    return np.asarray(picture, dtype=np.uint8)


def pixels_sent(data: bytes, width: int, height: int) -> np.ndarray:
    """A file that somebody sends, of whom nothing is known, as uint8 (height, width, 3).

    Of a moving picture it is the first frame.

    Raises:
        InputError: it is empty, too large, none of `KINDS`, or damaged.
    """
    if not data:
        raise InputError("The picture is empty: send a JPEG, PNG or WebP file.")
    if len(data) > MOST_BYTES:
        raise InputError(
            f"The picture has {len(data):,} bytes, more than {MOST_BYTES:,}: send a smaller one."
        )
    try:
        picture: Image.Image = Image.open(BytesIO(data), formats=KINDS)
    except Exception as error:  # a forged file fails in any way
        raise InputError("The file is no picture: send JPEG, PNG or WebP.") from error
    size = picture.width * picture.height
    # Nothing but the head has been read yet.
    if not 0 < size <= MOST_PIXELS:
        raise InputError(
            f"The picture has {picture.width:,} x {picture.height:,} pixels, and {MOST_PIXELS:,} in all are the most: "
            "send a smaller one."
        )
    try:
        if size > _MANY_PIXELS and picture.format not in ("JPEG", "MPO"):
            # Palettes have no colours between theirs.
            plain = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
            picture = plain.reduce(int(np.ceil((size / _MANY_PIXELS) ** 0.5)))
        return as_pixels(picture, width, height)
    except Exception as error:
        raise InputError(
            "The picture cannot be read, for the file is damaged or cut off: send it again."
        ) from error
