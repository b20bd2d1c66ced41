"""What a fashion shop sells: product types, indexes, sections, colours, patterns and words.

Names and numbers follow H&M's published files; shares are those of its catalogue and its sales.
Nothing here is random.
"""

from dataclasses import dataclass

PRODUCT_GROUPS = (
    "Garment Upper body",
    "Garment Lower body",
    "Garment Full body",
    "Underwear",
    "Socks & Tights",
    "Swimwear",
    "Nightwear",
    "Accessories",
    "Shoes",
)
UPPER, LOWER, FULL, UNDERWEAR, LEGWEAR, SWIM, NIGHT, ACCESSORY, SHOES = range(9)

# Row: the product group of a basket's first article. Column: how much likelier than on its own
# each product group becomes beside it.
GOES_WITH = (
    (0.7, 3.0, 0.6, 0.8, 1.0, 0.3, 0.6, 1.3, 1.0),
    (3.0, 0.6, 0.5, 0.8, 1.0, 0.3, 0.6, 1.2, 1.2),
    (0.8, 0.5, 0.8, 1.0, 1.8, 0.4, 0.6, 2.2, 2.5),
    (0.6, 0.5, 0.5, 4.0, 2.5, 0.8, 2.5, 0.6, 0.5),
    (0.8, 0.8, 0.9, 3.0, 3.0, 0.2, 1.5, 0.8, 1.0),
    (0.4, 0.8, 0.6, 0.7, 0.1, 12.0, 0.4, 1.3, 1.0),
    (0.5, 0.5, 0.3, 3.0, 2.0, 0.3, 2.5, 0.5, 0.5),
    (1.2, 1.0, 1.2, 0.6, 0.8, 0.6, 0.5, 2.0, 1.2),
    (1.0, 1.2, 1.6, 0.6, 1.5, 0.6, 0.5, 1.2, 0.5),
)

GARMENT_GROUPS = {
    1002: "Jersey Basic",
    1003: "Knitwear",
    1005: "Jersey Fancy",
    1007: "Outdoor",
    1008: "Dressed",
    1009: "Trousers",
    1010: "Blouses",
    1011: "Shirts",
    1012: "Skirts",
    1013: "Dresses Ladies",
    1014: "Dresses/Skirts girls",
    1016: "Trousers Denim",
    1017: "Under-, Nightwear",
    1018: "Swimwear",
    1019: "Accessories",
    1020: "Shoes",
    1021: "Socks and Tights",
    1025: "Shorts",
}
GIRLS_ONLY, GIRLS_DRESSES = (1012, 1013), 1014


@dataclass(frozen=True)
class ProductType:
    """One product type.

    `cents` is a usual ladies' price; demand is multiplied by exp(`swing`) around day `peak` of
    the year and by exp(-`swing`) half a year away; `again` is how readily the same article is
    bought again, and `supply` its share of the catalogue (both relative to a T-shirt).
    """

    number: int
    name: str
    group: int
    garment: int
    indexes: str
    cents: int
    peak: int = 0
    swing: float = 0.0
    again: float = 1.0
    supply: float = 1.0


SUMMER, AUTUMN, WINTER, SPRING = 180, 285, 345, 110

PRODUCT_TYPES = (
    ProductType(255, "T-shirt", UPPER, 1002, "ADFGHIS", 999, SUMMER, 0.4, 1.0, 1.0),
    ProductType(253, "Vest top", UPPER, 1002, "ADFHS", 699, SUMMER, 0.7, 1.6, 0.5),
    ProductType(254, "Top", UPPER, 1005, "ADGHIS", 1499, SUMMER, 0.2, 0.6, 0.6),
    ProductType(252, "Sweater", UPPER, 1003, "ADFGHI", 2499, WINTER, 1.0, 0.4, 1.2),
    ProductType(245, "Cardigan", UPPER, 1003, "ADFGHI", 2499, WINTER, 0.8, 0.4, 0.3),
    ProductType(308, "Hoodie", UPPER, 1005, "ADFGHIS", 2499, AUTUMN, 0.5, 0.5, 0.4),
    ProductType(258, "Blouse", UPPER, 1010, "AD", 1999, SPRING, 0.3, 0.4, 0.6),
    ProductType(259, "Shirt", UPPER, 1011, "ADFGHI", 1999, SPRING, 0.2, 0.4, 0.5),
    ProductType(262, "Jacket", UPPER, 1007, "ADFGHIS", 3999, AUTUMN, 0.9, 0.2, 0.6),
    ProductType(263, "Coat", UPPER, 1007, "ADF", 5999, AUTUMN, 1.3, 0.1, 0.2),
    ProductType(264, "Blazer", UPPER, 1008, "ADF", 3499, AUTUMN, 0.3, 0.2, 0.25),
    ProductType(256, "Bodysuit", UPPER, 1002, "ADG", 1299, WINTER, 0.1, 0.9, 0.3),
    ProductType(272, "Trousers", LOWER, 1009, "ADFGHI", 2999, AUTUMN, 0.2, 0.6, 1.5),
    ProductType(273, "Leggings/Tights", LOWER, 1002, "ADGHIS", 1499, AUTUMN, 0.3, 1.3, 0.3),
    ProductType(274, "Shorts", LOWER, 1025, "ADFGHIS", 1499, SUMMER, 1.5, 0.5, 0.6),
    ProductType(275, "Skirt", LOWER, 1012, "ADHI", 1999, SPRING, 0.4, 0.3, 0.4),
    ProductType(265, "Dress", FULL, 1013, "ADGHI", 2499, SUMMER, 0.8, 0.3, 1.3),
    ProductType(267, "Jumpsuit/Playsuit", FULL, 1013, "ADGH", 2999, SUMMER, 0.7, 0.2, 0.25),
    ProductType(306, "Bra", UNDERWEAR, 1017, "BDIS", 1499, 0, 0.0, 1.5, 0.5),
    ProductType(286, "Underwear bottom", UNDERWEAR, 1017, "BDFHI", 999, 0, 0.0, 2.0, 0.6),
    ProductType(297, "Pyjama set", NIGHT, 1017, "BFGHI", 1999, WINTER, 0.5, 0.5, 0.3),
    ProductType(296, "Night gown", NIGHT, 1017, "BH", 1499, WINTER, 0.2, 0.5, 0.1),
    ProductType(302, "Socks", LEGWEAR, 1021, "BDFGHIJ", 599, WINTER, 0.4, 3.0, 0.5),
    ProductType(304, "Underwear Tights", LEGWEAR, 1021, "BDJ", 699, WINTER, 0.9, 3.5, 0.2),
    ProductType(298, "Bikini top", SWIM, 1018, "BDJ", 1499, SUMMER, 2.2, 0.4, 0.4),
    ProductType(59, "Swimwear bottom", SWIM, 1018, "BDJ", 999, SUMMER, 2.2, 0.4, 0.4),
    ProductType(57, "Swimsuit", SWIM, 1018, "BDJ", 2499, SUMMER, 2.0, 0.2, 0.2),
    ProductType(66, "Bag", ACCESSORY, 1019, "CDFJ", 1999, SPRING, 0.2, 0.2, 0.4),
    ProductType(67, "Belt", ACCESSORY, 1019, "CDF", 999, 0, 0.0, 0.3, 0.2),
    ProductType(70, "Earring", ACCESSORY, 1019, "CD", 699, SUMMER, 0.2, 0.5, 0.5),
    ProductType(68, "Necklace", ACCESSORY, 1019, "CD", 799, SUMMER, 0.2, 0.3, 0.2),
    ProductType(81, "Sunglasses", ACCESSORY, 1019, "CDFJ", 999, SUMMER, 1.3, 0.2, 0.2),
    ProductType(80, "Scarf", ACCESSORY, 1019, "CDFJ", 1299, WINTER, 1.4, 0.2, 0.25),
    ProductType(72, "Hat/beanie", ACCESSORY, 1019, "CDFJ", 999, WINTER, 1.2, 0.2, 0.25),
    ProductType(74, "Hair string", ACCESSORY, 1019, "CDJ", 399, 0, 0.0, 1.5, 0.2),
    ProductType(87, "Boots", SHOES, 1020, "CDF", 4999, AUTUMN, 1.3, 0.1, 0.3),
    ProductType(91, "Sandals", SHOES, 1020, "CDJ", 2499, SUMMER, 1.5, 0.1, 0.3),
    ProductType(94, "Sneakers", SHOES, 1020, "CDFJ", 2999, SPRING, 0.3, 0.2, 0.3),
)

INDEX_GROUPS = (
    (1, "Ladieswear"),
    (2, "Divided"),
    (3, "Menswear"),
    (4, "Baby/Children"),
    (26, "Sport"),
)
LADIES, DIVIDED, MEN, CHILDREN, SPORT = range(5)
INDEX_GROUP_SALES = (0.626, 0.243, 0.057, 0.020, 0.055)
INDEX_GROUP_PRICE = (1.0, 0.8, 1.1, 0.65, 1.05)


@dataclass(frozen=True)
class Index:
    """One index of the catalogue; `sections` in the order of STYLES, or by product group."""

    code: str
    name: str
    group: int
    supply: float
    sections: tuple[tuple[int, str], ...]
    group_sections: tuple[tuple[int, int, str], ...] = ()


INDEXES = (
    Index(
        "A",
        "Ladieswear",
        LADIES,
        0.247,
        (
            (11, "Womens Tailoring"),
            (6, "Womens Casual"),
            (15, "Womens Everyday Collection"),
            (19, "Womens Trend"),
        ),
    ),
    Index(
        "B",
        "Lingeries/Tights",
        LADIES,
        0.066,
        ((61, "Womens Lingerie"),) * 4,
        (
            (SWIM, 60, "Womens Swimwear, beachwear"),
            (NIGHT, 62, "Womens Nightwear, Socks & Tigh"),
            (LEGWEAR, 62, "Womens Nightwear, Socks & Tigh"),
        ),
    ),
    Index(
        "C",
        "Ladies Accessories",
        LADIES,
        0.066,
        ((66, "Womens Small accessories"), (65, "Womens Big accessories")) * 2,
        ((SHOES, 64, "Womens Shoes"),),
    ),
    Index(
        "D",
        "Divided",
        DIVIDED,
        0.143,
        (
            (51, "Divided Basics"),
            (50, "Divided Projects"),
            (53, "Divided Collection"),
            (58, "Divided Selected"),
        ),
        (
            (ACCESSORY, 52, "Divided Accessories"),
            (UNDERWEAR, 80, "Divided Complements Other"),
            (LEGWEAR, 80, "Divided Complements Other"),
        ),
    ),
    Index(
        "F",
        "Menswear",
        MEN,
        0.119,
        (
            (21, "Contemporary Smart"),
            (20, "Contemporary Casual"),
            (55, "Contemporary Street"),
            (22, "Men Edition"),
        ),
        (
            (UNDERWEAR, 26, "Men Underwear"),
            (LEGWEAR, 26, "Men Underwear"),
            (NIGHT, 26, "Men Underwear"),
            (ACCESSORY, 25, "Men Accessories"),
            (SHOES, 27, "Men Shoes"),
        ),
    ),
    Index(
        "G",
        "Baby Sizes 50-98",
        CHILDREN,
        0.084,
        ((40, "Baby Girl"), (41, "Baby Boy")) * 2,
        ((LEGWEAR, 44, "Baby Essentials & Complements"),),
    ),
    Index(
        "H",
        "Children Sizes 92-140",
        CHILDREN,
        0.114,
        ((77, "Kids Girl"), (46, "Kids Boy")) * 2,
        ((UNDERWEAR, 79, "Girls Underwear & Basics"),),
    ),
    Index(
        "I",
        "Children Sizes 134-170",
        CHILDREN,
        0.087,
        ((76, "Young Girl"), (47, "Young Boy")) * 2,
        ((UNDERWEAR, 79, "Girls Underwear & Basics"),),
    ),
    Index(
        "J",
        "Children Accessories, Swimwear",
        CHILDREN,
        0.043,
        ((43, "Kids Accessories, Swimwear & D"),) * 4,
    ),
    Index(
        "S",
        "Sport",
        SPORT,
        0.032,
        ((5, "Ladies H&M Sport"), (28, "Mens H&M Sport")) * 2,
    ),
)

STYLES = ("classic", "sporty", "romantic", "bold")


@dataclass(frozen=True)
class Colour:
    """One colour group with its perceived lightness and main colour; `supply` is its share of
    the catalogue, `appeal` how much likelier it is to be bought than that."""

    code: int
    name: str
    value: tuple[int, str]
    master: tuple[int, str]
    supply: float
    appeal: float = 1.0


_DUSTY, _MEDIUM_DUSTY, _LIGHT = (1, "Dusty Light"), (2, "Medium Dusty"), (3, "Light")
_DARK, _BRIGHT, _MEDIUM = (4, "Dark"), (5, "Bright"), (6, "Medium")

COLOURS = (
    Colour(9, "Black", _DARK, (5, "Black"), 21.5, 2.0),
    Colour(10, "White", _LIGHT, (9, "White"), 9.2, 1.2),
    Colour(11, "Off White", _LIGHT, (9, "White"), 5.0),
    Colour(73, "Dark Blue", _DARK, (2, "Blue"), 12.0),
    Colour(72, "Blue", _MEDIUM_DUSTY, (2, "Blue"), 5.0, 1.2),
    Colour(71, "Light Blue", _DUSTY, (2, "Blue"), 4.0, 1.1),
    Colour(7, "Grey", _MEDIUM_DUSTY, (12, "Grey"), 4.5, 0.8),
    Colour(6, "Light Grey", _DUSTY, (12, "Grey"), 3.0, 0.7),
    Colour(8, "Dark Grey", _DARK, (12, "Grey"), 2.7, 0.8),
    Colour(12, "Light Beige", _DUSTY, (11, "Beige"), 3.6, 1.2),
    Colour(13, "Beige", _MEDIUM_DUSTY, (11, "Beige"), 3.4, 1.1),
    Colour(51, "Light Pink", _DUSTY, (4, "Pink"), 5.5, 0.8),
    Colour(52, "Pink", _MEDIUM, (4, "Pink"), 2.3, 0.7),
    Colour(42, "Red", _BRIGHT, (18, "Red"), 3.0, 0.8),
    Colour(43, "Dark Red", _DARK, (18, "Red"), 2.2, 0.8),
    Colour(93, "Dark Green", _DARK, (19, "Green"), 2.2, 0.8),
    Colour(92, "Green", _MEDIUM, (19, "Green"), 1.2, 0.7),
    Colour(19, "Greenish Khaki", _MEDIUM_DUSTY, (20, "Khaki green"), 2.6, 0.9),
    Colour(22, "Yellow", _BRIGHT, (8, "Yellow"), 1.9, 0.6),
    Colour(32, "Orange", _BRIGHT, (3, "Orange"), 1.3, 0.6),
    Colour(17, "Yellowish Brown", _MEDIUM_DUSTY, (13, "Brown"), 1.6, 0.9),
    Colour(62, "Lilac Purple", _MEDIUM, (6, "Lilac Purple"), 1.0, 0.8),
    Colour(5, "Gold", _BRIGHT, (14, "Metal"), 1.3, 0.9),
)
COLOUR_MASTERS = tuple(dict.fromkeys(colour.master[1] for colour in COLOURS))

# Number, name, share of the catalogue, and the style it speaks of (None: any).
PATTERNS = (
    (1010016, "Solid", 0.50, None),
    (1010001, "All over pattern", 0.16, 2),
    (1010010, "Melange", 0.06, 1),
    (1010017, "Stripe", 0.06, 0),
    (1010023, "Denim", 0.06, None),
    (1010004, "Check", 0.04, 0),
    (1010006, "Dot", 0.03, 2),
    (1010008, "Front print", 0.04, 3),
    (1010021, "Lace", 0.03, 2),
    (1010005, "Colour blocking", 0.02, 1),
)
SOLID, DENIM, LACE, FRONT_PRINT = 0, 4, 8, 7

FIRST_NAMES = (
    "Luna",
    "Tilda",
    "Box",
    "Charlie",
    "Simba",
    "Maja",
    "Elsa",
    "Nova",
    "Freya",
    "Greta",
    "Alma",
    "Iris",
    "Stella",
    "Ebba",
    "Tyra",
    "Vega",
    "Saga",
    "Wilma",
    "Ellen",
    "Klara",
    "Selma",
    "Juni",
    "Lova",
    "Hedda",
    "Liv",
    "Signe",
    "Edith",
    "Astrid",
    "Ester",
    "Majken",
    "Rio",
    "Paris",
    "Milano",
    "Havana",
    "Oslo",
    "Bali",
    "Dakar",
    "Kyoto",
    "Lisbon",
    "Malmo",
    "Perry",
    "Ringo",
    "Sirpa",
    "Timeless",
    "Mimmi",
    "Scarlett",
    "Jade",
    "Despacito",
    "Cat",
    "Pluto",
    "Gyda",
    "Heaven",
    "Dragonfly",
    "Primo",
    "Rosie",
    "Vienna",
    "Zebra",
    "Olivia",
)
STYLE_WORDS = (
    ("tailored", "clean", "timeless", "crisp"),
    ("relaxed", "functional", "fast-drying", "easy-moving"),
    ("soft", "airy", "feminine", "delicate"),
    ("statement", "cropped", "oversized", "edgy"),
)
FABRICS = {
    UPPER: ("cotton jersey", "a fine-knit blend", "woven viscose", "organic cotton"),
    LOWER: ("stretch twill", "washed cotton", "woven fabric", "sweatshirt fabric"),
    FULL: ("crinkled viscose", "jersey", "chiffon", "cotton poplin"),
    UNDERWEAR: ("microfibre", "lace", "cotton jersey", "mesh"),
    LEGWEAR: ("a soft cotton blend", "fine stretch yarn", "rib-knit cotton", "wool blend"),
    SWIM: ("fast-drying fabric", "ribbed stretch fabric", "recycled polyester", "crepe"),
    NIGHT: ("soft jersey", "satin", "cotton flannel", "waffled cotton"),
    ACCESSORY: ("imitation leather", "metal", "a wool blend", "woven fabric"),
    SHOES: ("imitation suede", "imitation leather", "canvas", "mesh"),
}
DETAILS = {
    UPPER: ("a round neckline", "a V-neck", "long sleeves", "buttons down the front"),
    LOWER: ("a high waist", "side pockets", "an elasticated waist", "tapered legs"),
    FULL: ("narrow shoulder straps", "a flared skirt", "a tie belt", "puff sleeves"),
    UNDERWEAR: ("adjustable straps", "a lined gusset", "moulded cups", "a lace trim"),
    LEGWEAR: ("reinforced toes", "an elasticated top", "a soft ribbed cuff", "flat seams"),
    SWIM: ("removable inserts", "a tie at the back", "lined cups", "a mid waist"),
    NIGHT: ("an elasticated waist", "a notch lapel", "short sleeves", "a chest pocket"),
    ACCESSORY: ("a zip", "an adjustable fit", "a matching clasp", "a woven label"),
    SHOES: ("a rounded toe", "a padded edge", "a chunky sole", "laces"),
}
