"""Simple recommenders that the whole one has to beat: retrievers put together by hand.

Each is what an analyst would do without a ranker. What a customer is not given by their own history
is filled up with what is popular.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from pipelines.retrievers.base import Retriever, recent_purchases, top

Parts = Mapping[str, Retriever]


@dataclass(frozen=True)
class Baseline:
    """The retrievers that must be fitted for it, and how its k articles come from them."""

    parts: tuple[str, ...]
    recommend: Callable[[Parts, pd.DataFrame, datetime, int], pd.DataFrame]


def last_basket(state: pd.DataFrame) -> pd.DataFrame:
    """What each customer bought on the last day they bought anything, most pieces first."""
    recent = recent_purchases(state)
    latest = recent["day"] == recent.groupby("customer")["day"].transform("max")
    recent = recent[latest]
    return pd.DataFrame(
        {
            "customer_id": state["customer_id"].to_numpy()[recent["customer"]],
            "article_id": recent["article_id"],
            "score": recent["weight"].astype("float64"),
        }
    )


def _last_basket_then_popular(
    parts: Parts, state: pd.DataFrame, moment: datetime, k: int
) -> pd.DataFrame:
    return _then_popular(parts, top(last_basket(state), k), state, moment, k)


def _repurchase_then_popular(
    parts: Parts, state: pd.DataFrame, moment: datetime, k: int
) -> pd.DataFrame:
    own = parts["repurchase"].candidates(state, moment, k)
    return _then_popular(parts, own, state, moment, k)


def _co_purchase_then_popular(
    parts: Parts, state: pd.DataFrame, moment: datetime, k: int
) -> pd.DataFrame:
    """Own articles and those bought together with them, by the sum of both scores.

    An article is as like itself as can be, so this is the co-purchase with its diagonal.
    """
    both = pd.concat(
        [parts[name].candidates(state, moment, k) for name in ("repurchase", "co_purchase")]
    )
    score = both.groupby(["customer_id", "article_id"])["score"].sum().reset_index()
    return _then_popular(parts, top(score, k), state, moment, k)


def _then_popular(
    parts: Parts, own: pd.DataFrame, state: pd.DataFrame, moment: datetime, k: int
) -> pd.DataFrame:
    rest = parts["popular"].candidates(state, moment, k)
    both = pd.concat([own, rest.assign(rank=rest["rank"] + k)])
    both = both.sort_values("rank").drop_duplicates(["customer_id", "article_id"])
    return top(both.assign(score=-both["rank"]), k)


BASELINES: dict[str, Baseline] = {
    "co_purchase_then_popular": Baseline(
        ("repurchase", "co_purchase", "popular"), _co_purchase_then_popular
    ),
    "repurchase_then_popular": Baseline(("repurchase", "popular"), _repurchase_then_popular),
    "last_basket_then_popular": Baseline(("popular",), _last_basket_then_popular),
}
