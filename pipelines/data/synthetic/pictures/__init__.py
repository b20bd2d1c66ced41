"""Pictures of the made-up articles: drawn as a shop photographs its goods, on light grey paper.

The cut comes from the product type and the product (the first seven digits of article_id), the
cloth from the colour and the pattern of the article. So variants of a product differ in colour
only, and both colour and product group can be learnt from the pictures.
"""

import os
import re
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

import numpy as np
from PIL import Image

from feature_repo.errors import InputError
from pipelines.data.synthetic.files import Progress
from pipelines.data.synthetic.pictures.canvas import (
    HEIGHT,
    WIDTH,
    fitted,
    laid_by_hand,
    photograph,
)
from pipelines.data.synthetic.pictures.motifs import ink
from pipelines.data.synthetic.pictures.patterns import Wardrobe
from pipelines.data.synthetic.pictures.shapes import shape_of
from pipelines.data.synthetic.pictures.tailoring import build

__all__ = ["HEIGHT", "WIDTH", "Look", "draw", "write_pictures"]

_ARTICLE_ID = re.compile(r"[0-9]{10}")
_CHUNK = 32
_QUALITY = 86


@dataclass(frozen=True)
class Look:
    """What a picture shows, in the words of the articles table; `rgb` is 0 to 255 each.

    Raises:
        InputError: `article_id` is not ten digits, or `rgb` is out of range.
    """

    article_id: str
    product_type: str
    product_group: str
    pattern: str
    colour: str
    rgb: tuple[int, int, int]
    index_group: str

    def __post_init__(self) -> None:
        if not _ARTICLE_ID.fullmatch(self.article_id):
            raise InputError(f"article_id must be ten digits to be drawn, not {self.article_id!r}.")
        if len(self.rgb) != 3 or not all(0 <= part <= 255 for part in self.rgb):
            raise InputError(
                f"rgb of article {self.article_id} must be three numbers from 0 to 255, "
                f"not {self.rgb!r}."
            )


def draw(look: Look, seed: int) -> Image.Image:
    """The picture of one article, WIDTH x HEIGHT in RGB; it depends on `look` and `seed` alone."""
    product, article = int(look.article_id[:7]), int(look.article_id)
    of_product = np.random.default_rng([seed, 1, product])
    of_article = np.random.default_rng([seed, 2, article])
    shape = shape_of(look.product_type, look.product_group)
    fill = of_product.uniform(0.93, 1.0)
    parts = fitted(shape(build(look.index_group, of_product)), 300 * fill, 446 * fill)
    parts = laid_by_hand(parts, of_product)
    shift = of_article.normal(0, 3.0, 3) + of_article.normal(0, 1.5)
    base = np.clip(ink(*(look.rgb + shift)), 6, 250)
    clear = look.colour == "Transparent" and look.pattern == "Solid"
    pattern = "Transparent" if clear else look.pattern
    wardrobe = Wardrobe(base, pattern, of_article, parts)
    return photograph(parts, wardrobe.paint, wardrobe.ink, of_product)


def write_pictures(
    looks: Iterable[Look],
    folder: Path,
    seed: int,
    progress: Progress = lambda step, done: None,
    *,
    workers: int | None = None,
) -> int:
    """Write each article's picture to folder/images/0NN/ARTICLE_ID.jpg and return how many.

    0NN are the first three digits of the article_id, as in Kaggle's files. `workers` processes
    draw (one per processor unless told otherwise); the bytes are the same whatever their number.
    They are spawned: a script must call this under `if __name__ == "__main__"`.

    Raises:
        OSError: the folder cannot be written.
    """
    todo = list(looks)
    images = Path(folder) / "images"
    images.mkdir(parents=True, exist_ok=True)
    for prefix in sorted({look.article_id[:3] for look in todo}):
        (images / prefix).mkdir(exist_ok=True)
    chunks = [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)]
    workers = min(workers or os.cpu_count() or 1, len(chunks))
    done = 0
    progress("pictures", 0.0)
    if workers <= 1:
        for chunk in chunks:
            done += _write(chunk, images, seed)
            progress("pictures", done / len(todo))
        return done
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        try:
            for written in pool.map(_write, chunks, [images] * len(chunks), [seed] * len(chunks)):
                done += written
                progress("pictures", done / len(todo))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone: if that was killed, nobody else does."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _write(looks: list[Look], images: Path, seed: int) -> int:
    for look in looks:
        file = images / look.article_id[:3] / f"{look.article_id}.jpg"
        draw(look, seed).save(file, "JPEG", quality=_QUALITY)
    return len(looks)
