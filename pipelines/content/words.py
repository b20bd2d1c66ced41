"""Which articles say a word, and how much it says of them: the exact half of search.

Words of the name, the kind, the colour and so on count for more than those of a description (BM25F; Robertson,
Zaragoza and Taylor, CIKM 2004). The word that is being typed stands for all that begin with it, and a word that no
article has for those that are one slip of a finger away (Norvig, 2007).
"""

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

SATURATION = 1.2
"""k1: how soon one more of a word says nothing more."""
MOST_WORDS = 16
"""Of a query; what comes after them is not looked at."""
_LENGTH = 0.75
"""b: how far a long text makes each of its words count for less."""
_COMPLETIONS = 16
"""Words that what is being typed may stand for, the most common first."""
_COMPLETED, _CORRECTED = 0.7, 0.5
"""What a word counts that only begins as what was typed, or was typed otherwise."""
_SHORTEST_SLIP = 4
"""Letters from which on a word may have been mistyped: shorter ones are near too many others."""

_JOINT = "['\\-\u2010\u2011\u2019]"
_LETTERS = (
    "(?:[^\\W_]|[\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u0ddf\u0e31-\u0e4e])+"
)
"""Letters and digits, and the marks with which other scripts write vowels."""
_RUN = re.compile(f"{_LETTERS}(?:{_JOINT}{_LETTERS})*")
_MARKS = re.compile("[\u0300-\u036f]")
_OTHERWISE = {"women": "woman", "men": "man", "children": "child", "scarve": "scarf"}
"""Plurals of a shop that no rule makes, without their s."""
_ARRAYS, _NAMES = "words.npz", "words.json"


def folded(text: str) -> str:
    """Without case, accents and the wide and narrow forms of letters."""
    apart = _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))
    # Marks of other scripts make other letters, and stay.
    return unicodedata.normalize("NFKC", apart)


def singular(word: str) -> str:
    """A folded word without the s of a plural."""
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif len(word) > 4 and word.endswith("ies"):
        word = word if word.endswith(("eies", "aies")) else f"{word[:-3]}y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("us", "ss", "is")):
        word = word[:-1]
    return _OTHERWISE.get(word, word)


def raw_words(text: str) -> Iterator[str]:
    """The words of a text, folded; of one with a joint, as in T-shirt, the parts and the whole."""
    for run in _RUN.findall(folded(text)):
        parts = re.split(_JOINT, run)
        if len(parts) > 1 and parts[-1] == "s":
            # The owner's s: women's.
            parts = parts[:-1]
        yield from parts
        if len(parts) > 1:
            yield "".join(parts)


@dataclass(frozen=True)
class Field:
    """A column of texts and what a word in it counts.

    Attributes:
        weight: times as much as a word of weight 1.
        length: b, from 0 to 1: how far many words make each count for less.
    """

    weight: float
    length: float = _LENGTH


class WordIndex:
    """W words in the texts of A articles.

    Cost: memory 8 bytes a pair of article and word; a query reads the pairs of its words.
    """

    def __init__(
        self,
        words: Sequence[str],
        starts: np.ndarray,
        articles: np.ndarray,
        says: np.ndarray,
        size: int,
    ) -> None:
        self._words = list(words)
        self._starts = starts
        self._articles = articles
        self._says = says
        self._size = size
        self._place = {word: place for place, word in enumerate(self._words)}
        self._counts = np.diff(starts)
        counts = self._counts.astype("float64")
        self._rarity = np.log1p((size - counts + 0.5) / (counts + 0.5)).astype("float32")

    def __len__(self) -> int:
        return self._size

    @classmethod
    def fit(cls, texts: Mapping[str, Sequence[str]], fields: Mapping[str, Field]) -> Self:
        """
        Args:
            texts: {column: its text of each article}, of one length.
            fields: what each column counts.
        """
        place_of: dict[str, int] = {}
        rows, places, amounts = [], [], []
        size = len(next(iter(texts.values()), ()))
        for name, column in texts.items():
            row, place, lengths = _pairs(column, place_of)
            field = fields[name]
            # A text is long beside those that there are.
            mean = max(float(lengths[lengths > 0].mean()) if lengths.any() else 1.0, 1e-9)
            lengthened = 1 - field.length + field.length * lengths[row] / mean
            rows.append(row)
            places.append(place)
            amounts.append(field.weight / lengthened)
        row, place = _joined(rows, "int64"), _joined(places, "int64")
        amount = _joined(amounts, "float64")
        words = sorted(place_of)
        order = np.empty(len(words), dtype="int64")
        for new, word in enumerate(words):
            order[place_of[word]] = new
        # Pairs by word and then article, each once, with the sum of what its fields say.
        keys, back = np.unique(order[place] * max(size, 1) + row, return_inverse=True)
        total = np.bincount(back, amount, len(keys))
        of_word = keys // max(size, 1)
        starts = np.searchsorted(of_word, np.arange(len(words) + 1))
        return cls(
            words,
            starts.astype("int64"),
            (keys % max(size, 1)).astype("int32"),
            (total * (SATURATION + 1) / (total + SATURATION)).astype("float32"),
            size,
        )

    def scores(self, query: str) -> tuple[np.ndarray, np.ndarray]:
        """How well each article answers the words of a query.

        Args:
            query: its last word is still being typed unless white space follows.

        Returns:
            scores (A,), 0 to 1 and 0 if an article has none of the words, and how much of the query each has (A,),
            0 to 1; words count by how rare they are.
        """
        total = np.zeros(self._size, dtype="float32")
        covered = np.zeros(self._size, dtype="float32")
        whole = 0.0
        for words in self._meant(query):
            if not words:
                whole += float(np.log1p(2 * self._size + 1))
                continue
            rarity = float(self._rarity[max(words, key=lambda word: self._counts[word])])
            whole += rarity
            if len(words) == 1:
                ((word, share),) = words.items()
                articles, says = self._pairs_of(word)
                total[articles] += share * rarity * says
                covered[articles] += rarity
            else:
                best = np.zeros(self._size, dtype="float32")
                for word, share in words.items():
                    articles, says = self._pairs_of(word)
                    best[articles] = np.maximum(best[articles], share * says)
                total += rarity * best
                covered += rarity * (best > 0)
        if whole:
            covered /= whole
            # Who has all of the words comes before who says one of them often.
            total *= covered / (whole * (SATURATION + 1))
        return total, covered

    def _pairs_of(self, word: int) -> tuple[np.ndarray, np.ndarray]:
        pairs = slice(self._starts[word], self._starts[word + 1])
        return self._articles[pairs], self._says[pairs]

    def _meant(self, query: str) -> Iterator[dict[int, float]]:
        """Of each word of a query the words that it may stand for, with what each counts."""
        typed = list(dict.fromkeys(raw_words(query)))[:MOST_WORDS]
        typing = typed[-1] if typed and not query[-1:].isspace() else None
        for raw in typed:
            word = singular(raw)
            found: dict[int, float] = {}
            if raw == typing or word not in self._place:
                found |= dict.fromkeys(self._beginning_with(raw), _COMPLETED)
            if not found and word not in self._place:
                found |= dict.fromkeys(self._one_slip_from(word), _CORRECTED)
            if word in self._place:
                found[self._place[word]] = 1.0
            yield found

    def _beginning_with(self, beginning: str) -> list[int]:
        if len(beginning) < 2:
            return []
        first = bisect_left(self._words, beginning)
        last = bisect_left(self._words, beginning + "\U0010ffff")
        return self._most_common(range(first, last))

    def _one_slip_from(self, word: str) -> list[int]:
        if len(word) < _SHORTEST_SLIP:
            return []
        known = {self._place[near] for near in _slips(word, self._letters) if near in self._place}
        return self._most_common(known)

    def _most_common(self, words: "range | set[int]") -> list[int]:
        return sorted(words, key=lambda word: (-self._counts[word], word))[:_COMPLETIONS]

    @cached_property
    def _letters(self) -> str:
        """The letters of the shop's words, the most common first."""
        counts: dict[str, int] = {}
        for word in self._words:
            for letter in word:
                counts[letter] = counts.get(letter, 0) + 1
        return "".join(sorted(counts, key=lambda letter: (-counts[letter], letter))[:64])

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, without pickle."""
        record = {"articles": self._size, "words": self._words}
        (folder / _NAMES).write_text(json.dumps(record), encoding="utf-8")
        np.savez(folder / _ARRAYS, starts=self._starts, articles=self._articles, says=self._says)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        record = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
        with np.load(folder / _ARRAYS, allow_pickle=False) as arrays:
            return cls(
                record["words"],
                arrays["starts"],
                arrays["articles"],
                arrays["says"],
                record["articles"],
            )


def _pairs(
    texts: Sequence[str], place_of: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every word of every text: row (R,), place of the word (R,), and how many each text has (A,).

    Args:
        place_of: {word: place}, to which those that are new are added.
    """
    rows: list[np.ndarray] = []
    known: dict[str, np.ndarray] = {}
    for text in texts:
        # Attributes are the same texts over and over.
        if text not in known:
            known[text] = np.array(
                [place_of.setdefault(singular(w), len(place_of)) for w in raw_words(text)], "int64"
            )
        rows.append(known[text])
    lengths = np.array([len(found) for found in rows], dtype="int64")
    return np.repeat(np.arange(len(rows)), lengths), _joined(rows, "int64"), lengths


def _joined(parts: Sequence[np.ndarray], kind: str) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *parts])


def _slips(word: str, letters: str) -> set[str]:
    """All that one letter too few, too many, or another makes of a word, and two that changed places."""
    splits = [(word[:cut], word[cut:]) for cut in range(len(word) + 1)]
    near = {before + after[1:] for before, after in splits if after}
    near |= {before + after[1] + after[0] + after[2:] for before, after in splits if after[1:]}
    for before, after in splits:
        for letter in letters:
            near.add(before + letter + after)
            near.add(before + letter + after[1:])
    return near
