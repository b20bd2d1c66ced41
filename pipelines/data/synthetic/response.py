"""What a shopper does with one article that they are shown: the model behind every purchase.

A cascade (Craswell et al., WSDM 2008, with the examination hypothesis of Richardson et al., WWW
2007): the article at a position is looked at with a probability that falls with the position; it is
then viewed, put into the cart and bought, each with a probability of its own that follows from the
customer's tastes and the article, and dismissed if it was looked at and not viewed. So

    p(purchase) = examination(position) x VIEW x CART x BUY x acceptance,

and `acceptance`, the part that depends on customer and article, is also the probability with which
a shopper in front of a shelf takes an article that has caught the eye. Shelves, pages and slates
thus follow the same truth.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.data.synthetic.catalogue import STYLE_DIMENSIONS
from pipelines.data.synthetic.customers import Customers
from pipelines.data.synthetic.designs import Flags, Floats, Ints
from pipelines.data.synthetic.shelves import Day

VIEW, CART, BUY, DISMISS = 0.8, 0.6, 0.8, 0.05
"""The most that each step is ever taken, given the step before."""
IMPULSE = 0.12
"""The least share of that."""
OWNED = 0.05
"""Factor on the cart for another colour of a product that the customer remembers to have."""
REMINDED = 8.0
"""The pull of an article bought before at which a reminder works half of the times."""


@dataclass(frozen=True)
class Response:
    """Probabilities of one impression each: p(view) >= p(cart) >= p(purchase), jointly with the
    steps before; a dismissal excludes a view."""

    view: Floats
    cart: Floats
    purchase: Floats
    dismiss: Floats


def examination(position: Ints) -> Floats:
    """Probability that a shopper looks at a position, from 1."""
    return (1 / (1 + 0.12 * (np.asarray(position) - 1))).astype(np.float32)


def _step(utility: Floats) -> Floats:
    """A logistic step with a floor, 0 to 1."""
    return np.float32(IMPULSE) + np.float32(1 - IMPULSE) / (1 + np.exp(-utility))


@dataclass(frozen=True)
class Steps:
    """The three steps of acceptance, before constants, positions and what is owned."""

    view: Floats
    cart: Floats
    buy: Floats

    @property
    def acceptance(self) -> Floats:
        return self.view * self.cart * self.buy


def steps(customers: Customers, day: Day, customer: Ints, article: Ints, colours: Floats) -> Steps:
    """How a customer takes to an article.

    The picture decides on the view (style, colour and how well it is photographed), style and
    colour at a second look on the cart, today's price on buying.

    Args:
        customer: n positions, one per row.
        article: n x k positions.
        colours: n x main colours, the customers' tastes (`Customers.likes`).

    Returns:
        n x k of each.
    """
    face = day.face[article]
    style = np.einsum("nkd,nd->nk", face[:, :, :STYLE_DIMENSIONS], customers.tastes.style[customer])
    row = np.arange(len(customer))[:, None]
    colour = colours[row, day.catalogue.colour[article]]
    eye, price = face[:, :, STYLE_DIMENSIONS], face[:, :, STYLE_DIMENSIONS + 1]
    dear = price - customers.tastes.price_level[customer][:, None]
    # Too dear hurts more than too cheap.
    misfit = np.where(dear > 0, dear, np.float32(-0.4) * dear)
    return Steps(
        view=_step(np.float32(2.0) * style + colour + eye - np.float32(1.0)),
        cart=_step(np.float32(2.5) * style + np.float32(0.6) * colour - np.float32(0.7)),
        buy=_step(np.float32(1.5) - np.float32(4.0) * misfit),
    )


def respond(
    taken: Steps, position: Ints, owned_product: Flags, pull: Floats | None = None
) -> Response:
    """The response to articles shown at positions (same shape as the steps).

    Args:
        owned_product: the customer remembers to have the article or another colour of it.
        pull: of an article that the customer bought before (`Remembered.pull`), else 0: being
            reminded of it can work better than being shown something new.
    """
    seen = examination(position)
    view = taken.view
    cart = taken.cart * np.where(owned_product, np.float32(OWNED), np.float32(1))
    buy = taken.buy
    if pull is not None:
        remind = pull / (pull + np.float32(REMINDED))
        # The whole chain reaches the reminder's probability where that is the higher one.
        least = np.cbrt(remind)
        view, cart, buy = np.maximum(view, least), np.maximum(cart, least), np.maximum(buy, least)
    viewed = seen * np.float32(VIEW) * view
    carted = viewed * np.float32(CART) * cart
    return Response(
        view=viewed,
        cart=carted,
        purchase=carted * np.float32(BUY) * buy,
        dismiss=(seen - viewed) * np.float32(DISMISS) * (1 - taken.cart),
    )
