"""What an article's words and picture say, as vectors that features and retrieval use.

- `text`: words as vectors: TF-IDF and a singular value decomposition, or a sentence-transformers model.
- `pictures`: a small network that learns to tell product group and colour, and its vectors.
- `clusters`: what looks alike inside each product group.
- `embedding`: all of these for the shop that is loaded: `embed()`, which the next build of features takes up.
"""

from pipelines.content.embedding import PICTURE_ENCODER, TEXT_ENCODER, Embedded, embed

__all__ = ["PICTURE_ENCODER", "TEXT_ENCODER", "Embedded", "embed"]
