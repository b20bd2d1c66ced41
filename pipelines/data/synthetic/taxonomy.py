"""What a fashion shop sells: product types, indexes, sections, departments, colours and patterns.

Names, numbers and shares follow what is published of H&M's catalogue; shares are in articles.
Nothing here is random. The words of names and descriptions are in words.py.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
    "Unknown",
    "Underwear/nightwear",
    "Cosmetic",
    "Bags",
    "Items",
    "Furniture",
    "Garment and Shoe care",
    "Stationery",
    "Interior textile",
    "Fun",
)
UPPER, LOWER, FULL, UNDERWEAR, LEGWEAR, SWIM, NIGHT, ACCESSORY, SHOES = range(9)
UNKNOWN, SLEEP, COSMETIC, BAGS, ITEMS, FURNITURE, CARE, STATIONERY, INTERIOR, FUN = range(9, 19)

# Row: the product group of a basket's first article. Column: how much likelier than on its own
# each product group becomes beside it.
# fmt: off
GOES_WITH = (
    (0.7, 3.0, 0.6, 0.8, 1.0, 0.3, 0.6, 1.3, 1.0, 1.0, 0.5, 0.9, 1.2, 0.9, 0.8, 1.0, 0.8, 0.7, 0.8),
    (3.0, 0.6, 0.5, 0.8, 1.0, 0.3, 0.6, 1.2, 1.2, 1.0, 0.5, 0.9, 1.1, 0.9, 0.8, 1.0, 0.8, 0.7, 0.8),
    (0.8, 0.5, 0.8, 1.0, 1.8, 0.4, 0.6, 2.2, 2.5, 1.0, 0.5, 1.2, 1.8, 0.9, 0.8, 1.0, 0.8, 0.7, 0.8),
    (0.6, 0.5, 0.5, 4.0, 2.5, 0.8, 2.5, 0.6, 0.5, 1.0, 1.8, 1.0, 0.6, 0.8, 0.8, 1.0, 0.8, 0.8, 0.8),
    (0.8, 0.8, 0.9, 3.0, 3.0, 0.2, 1.5, 0.8, 1.0, 1.0, 1.2, 1.0, 0.8, 0.9, 0.8, 1.0, 0.8, 0.8, 0.8),
    (0.4, 0.8, 0.6, 0.7, 0.1, 12, 0.4, 1.3, 1.0, 1.0, 0.4, 0.9, 1.5, 0.9, 0.8, 0.7, 0.7, 1.2, 1.0),
    (0.5, 0.5, 0.3, 3.0, 2.0, 0.3, 2.5, 0.5, 0.5, 1.0, 3.0, 1.2, 0.5, 0.9, 0.9, 0.9, 0.9, 1.3, 1.0),
    (1.2, 1.0, 1.2, 0.6, 0.8, 0.6, 0.5, 2.0, 1.2, 1.0, 0.6, 1.3, 1.5, 1.3, 1.0, 1.0, 1.2, 0.9, 1.1),
    (1.0, 1.2, 1.6, 0.6, 1.5, 0.6, 0.5, 1.2, 0.5, 1.0, 0.5, 0.9, 1.3, 0.9, 0.8, 1.6, 0.8, 0.7, 0.8),
    (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    (0.9, 0.8, 0.6, 2.0, 1.5, 0.4, 3.0, 0.8, 0.5, 1.0, 2.0, 1.0, 0.6, 1.0, 1.0, 1.0, 1.0, 1.6, 1.6),
    (0.9, 0.9, 1.1, 1.0, 1.0, 0.8, 1.1, 1.4, 0.9, 1.0, 1.0, 4.0, 1.1, 1.3, 1.0, 1.2, 1.1, 1.0, 1.0),
    (1.1, 1.0, 1.4, 0.6, 0.8, 1.1, 0.6, 1.6, 1.3, 1.0, 0.7, 1.1, 1.2, 1.2, 1.0, 1.0, 1.0, 0.9, 1.0),
    (1.0, 1.0, 0.9, 0.8, 0.9, 0.8, 0.9, 1.5, 0.9, 1.0, 1.0, 1.3, 1.1, 2.0, 1.3, 1.2, 1.5, 1.3, 1.5),
    (0.9, 0.9, 0.8, 0.8, 0.9, 0.8, 1.0, 1.1, 0.8, 1.0, 1.0, 1.1, 1.0, 1.4, 1.2, 1.2, 1.2, 2.5, 1.2),
    (1.1, 1.1, 1.0, 1.0, 1.0, 0.8, 0.9, 1.0, 1.5, 1.0, 1.0, 1.2, 1.0, 1.2, 1.2, 2.0, 1.2, 1.2, 1.0),
    (1.0, 1.0, 0.9, 0.9, 1.0, 0.8, 0.9, 1.2, 0.9, 1.0, 1.0, 1.1, 1.0, 1.5, 1.2, 1.2, 2.0, 1.2, 1.4),
    (0.9, 0.9, 0.8, 0.9, 0.9, 1.2, 1.3, 1.0, 0.8, 1.0, 1.4, 1.1, 1.0, 1.3, 2.5, 1.2, 1.2, 2.5, 1.2),
    (1.0, 1.0, 0.9, 0.9, 1.0, 1.0, 1.0, 1.2, 0.9, 1.0, 1.5, 1.0, 1.0, 1.5, 1.2, 1.0, 1.4, 1.2, 2.0),
)
# fmt: on

GARMENT_GROUPS = {
    1001: "Unknown",
    1002: "Jersey Basic",
    1003: "Knitwear",
    1005: "Jersey Fancy",
    1006: "Woven/Jersey/Knitted mix Baby",
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
    1023: "Special Offers",
    1025: "Shorts",
}

LINES = {
    "Jersey Basic": 1002,
    "Jersey Fancy": 1005,
    "Knitwear": 1003,
    "Blouses": 1010,
    "Shirts": 1011,
    "Outdoor": 1007,
    "Blazers": 1008,
    "Trousers": 1009,
    "Denim": 1016,
    "Leggings": 1002,
    "Shorts": 1025,
    "Skirts": 1012,
    "Dresses": 1013,
    "Jumpsuits": 1013,
    "Sets": 1005,
    "Costumes": 1023,
    "Lingerie": 1017,
    "Underwear": 1017,
    "Nightwear": 1017,
    "Sleep": 1017,
    "Socks": 1021,
    "Tights": 1021,
    "Swimwear": 1018,
    "Jewellery": 1019,
    "Bags": 1019,
    "Belts": 1019,
    "Scarves": 1019,
    "Gloves": 1019,
    "Hats": 1019,
    "Hair Accessories": 1019,
    "Sunglasses": 1019,
    "Small Accessories": 1019,
    "Other Accessories": 1019,
    "Sneakers": 1020,
    "Boots": 1020,
    "Sandals": 1020,
    "Shoes": 1020,
    "Beauty": 1023,
    "Home": 1023,
    "Care": 1023,
    "Other": 1001,
}
"""The range that a product type belongs to, with its garment group. Departments follow it."""
GIRLS_DRESSES = 1014
CHILDREN_GARMENTS = {"Dresses": GIRLS_DRESSES, "Skirts": GIRLS_DRESSES}
BABY_GARMENTS = {"Sets": 1006, "Jumpsuits": 1006, "Jersey Fancy": 1006, "Leggings": 1006}


@dataclass(frozen=True)
class ProductType:
    """One product type.

    `indexes` are the codes of those that sell it and `cents` a usual ladies' price; demand is
    multiplied by exp(`swing`) around day `peak` of the year and by exp(-`swing`) half a year away;
    `again` is how readily the same article is bought again, relative to a T-shirt, and `supply`
    its articles in a catalogue of H&M's size.
    """

    number: int
    name: str
    group: int
    line: str
    indexes: str
    cents: int
    peak: int = 0
    swing: float = 0.0
    again: float = 1.0
    supply: float = 1.0

    @property
    def garment(self) -> int:
        """Number of the usual garment group; see also CHILDREN_GARMENTS and BABY_GARMENTS."""
        return LINES[self.line]


SUMMER, AUTUMN, WINTER, SPRING = 180, 285, 345, 110

PRODUCT_TYPES = (
    ProductType(255, "T-shirt", UPPER, "Jersey Basic", "ADFGHIS", 999, SUMMER, 0.4, 1.0, 7904),
    ProductType(253, "Vest top", UPPER, "Jersey Basic", "ADFGHIS", 699, SUMMER, 0.7, 1.6, 2991),
    ProductType(254, "Top", UPPER, "Jersey Fancy", "ADGHIS", 1499, SUMMER, 0.2, 0.6, 4155),
    ProductType(252, "Sweater", UPPER, "Knitwear", "ADFGHIS", 2499, WINTER, 1.0, 0.4, 9302),
    ProductType(245, "Cardigan", UPPER, "Knitwear", "ADFGHI", 2499, WINTER, 0.8, 0.4, 1550),
    ProductType(308, "Hoodie", UPPER, "Jersey Fancy", "ADFGHIS", 2499, AUTUMN, 0.5, 0.5, 2356),
    ProductType(258, "Blouse", UPPER, "Blouses", "ADGHI", 1999, SPRING, 0.3, 0.4, 3979),
    ProductType(259, "Shirt", UPPER, "Shirts", "ADFGHI", 1999, SPRING, 0.2, 0.4, 3405),
    ProductType(257, "Polo shirt", UPPER, "Jersey Basic", "AFGHI", 1499, SUMMER, 0.5, 0.6, 449),
    ProductType(262, "Jacket", UPPER, "Outdoor", "ADFGHIS", 3999, AUTUMN, 0.9, 0.2, 3940),
    ProductType(263, "Coat", UPPER, "Outdoor", "ADFGHI", 5999, AUTUMN, 1.3, 0.1, 460),
    ProductType(268, "Outdoor Waistcoat", UPPER, "Outdoor", "ADFGHIS", 2999, AUTUMN, 0.9, 0.2, 154),
    ProductType(264, "Blazer", UPPER, "Blazers", "ADFHI", 3499, AUTUMN, 0.3, 0.2, 1110),
    ProductType(266, "Tailored Waistcoat", UPPER, "Blazers", "AFHI", 2999, AUTUMN, 0.2, 0.2, 73),
    ProductType(256, "Bodysuit", UPPER, "Jersey Basic", "ADG", 1299, WINTER, 0.1, 0.9, 913),
    ProductType(272, "Trousers", LOWER, "Trousers", "ADFGHIS", 2999, AUTUMN, 0.2, 0.6, 11169),
    ProductType(273, "Leggings/Tights", LOWER, "Leggings", "ADGHIS", 1499, AUTUMN, 0.3, 1.3, 1878),
    ProductType(274, "Shorts", LOWER, "Shorts", "ADFGHIS", 1499, SUMMER, 1.5, 0.5, 3939),
    ProductType(275, "Skirt", LOWER, "Skirts", "ADGHIS", 1999, SPRING, 0.4, 0.3, 2696),
    ProductType(271, "Outdoor trousers", LOWER, "Outdoor", "FGHIS", 3999, WINTER, 1.4, 0.2, 130),
    ProductType(265, "Dress", FULL, "Dresses", "ADGHI", 2499, SUMMER, 0.8, 0.3, 10362),
    ProductType(267, "Jumpsuit/Playsuit", FULL, "Jumpsuits", "ADGHI", 2999, SUMMER, 0.7, 0.2, 1147),
    ProductType(270, "Garment Set", FULL, "Sets", "GHI", 2499, SUMMER, 0.2, 0.4, 1320),
    ProductType(261, "Dungarees", FULL, "Jumpsuits", "ADGHI", 3499, SPRING, 0.4, 0.2, 309),
    ProductType(269, "Outdoor overall", FULL, "Outdoor", "GH", 4999, WINTER, 1.6, 0.2, 64),
    ProductType(276, "Costumes", FULL, "Costumes", "GH", 2499, 290, 1.8, 0.2, 90),
    ProductType(306, "Bra", UNDERWEAR, "Lingerie", "BDHIS", 1499, 0, 0.0, 1.5, 2212),
    ProductType(286, "Underwear bottom", UNDERWEAR, "Underwear", "BDFGHI", 999, 0, 0.0, 2.0, 2748),
    ProductType(284, "Underwear body", UNDERWEAR, "Lingerie", "BD", 1999, WINTER, 0.1, 0.8, 174),
    ProductType(283, "Kids Underwear top", UNDERWEAR, "Underwear", "GHI", 799, 0, 0.0, 1.4, 96),
    ProductType(287, "Underwear set", UNDERWEAR, "Underwear", "BHI", 1499, WINTER, 0.2, 1.0, 47),
    ProductType(285, "Long John", UNDERWEAR, "Underwear", "FGHI", 1299, WINTER, 1.5, 1.0, 29),
    ProductType(288, "Underdress", UNDERWEAR, "Lingerie", "B", 1499, WINTER, 0.2, 0.5, 20),
    ProductType(289, "Nipple covers", UNDERWEAR, "Lingerie", "B", 699, SUMMER, 0.4, 1.4, 11),
    ProductType(290, "Underwear corset", UNDERWEAR, "Lingerie", "B", 2499, WINTER, 0.1, 0.3, 7),
    ProductType(291, "Bra extender", UNDERWEAR, "Lingerie", "B", 499, 0, 0.0, 0.8, 1),
    ProductType(302, "Socks", LEGWEAR, "Socks", "BDFGHIJS", 599, WINTER, 0.4, 3.0, 1889),
    ProductType(304, "Underwear Tights", LEGWEAR, "Tights", "BDGHIJ", 699, WINTER, 0.9, 3.5, 546),
    ProductType(303, "Leg warmers", LEGWEAR, "Tights", "BDJ", 999, WINTER, 1.2, 0.8, 7),
    ProductType(298, "Bikini top", SWIM, "Swimwear", "BDJ", 1499, SUMMER, 2.2, 0.4, 850),
    ProductType(59, "Swimwear bottom", SWIM, "Swimwear", "BDFJ", 999, SUMMER, 2.2, 0.4, 1307),
    ProductType(57, "Swimsuit", SWIM, "Swimwear", "BDGJ", 2499, SUMMER, 2.0, 0.2, 660),
    ProductType(60, "Swimwear set", SWIM, "Swimwear", "GJ", 1999, SUMMER, 2.0, 0.2, 192),
    ProductType(58, "Swimwear top", SWIM, "Swimwear", "BGJ", 1299, SUMMER, 2.0, 0.3, 54),
    ProductType(76, "Sarong", SWIM, "Swimwear", "BJ", 1499, SUMMER, 2.0, 0.2, 64),
    ProductType(297, "Pyjama set", NIGHT, "Nightwear", "BDFGHI", 1999, WINTER, 0.5, 0.5, 1120),
    ProductType(
        301, "Pyjama jumpsuit/playsuit", NIGHT, "Nightwear", "BGHI", 1999, WINTER, 0.4, 0.6, 388
    ),
    ProductType(299, "Pyjama bottom", NIGHT, "Nightwear", "BDFHI", 1499, WINTER, 0.4, 0.6, 222),
    ProductType(296, "Night gown", NIGHT, "Nightwear", "BHI", 1499, WINTER, 0.2, 0.5, 172),
    ProductType(300, "Robe", NIGHT, "Nightwear", "BFGHI", 2999, WINTER, 0.8, 0.2, 136),
    ProductType(305, "Sleeping sack", SLEEP, "Sleep", "G", 2999, WINTER, 0.4, 0.4, 42),
    ProductType(307, "Sleep Bag", SLEEP, "Sleep", "G", 3999, WINTER, 0.6, 0.2, 6),
    ProductType(72, "Hat/beanie", ACCESSORY, "Hats", "CDFGJS", 999, WINTER, 1.2, 0.2, 1349),
    ProductType(66, "Bag", ACCESSORY, "Bags", "CDFJS", 1999, SPRING, 0.2, 0.2, 1280),
    ProductType(70, "Earring", ACCESSORY, "Jewellery", "CD", 699, SUMMER, 0.2, 0.5, 1159),
    ProductType(
        161,
        "Other accessories",
        ACCESSORY,
        "Other Accessories",
        "CDFGJS",
        799,
        WINTER,
        0.3,
        0.5,
        1034,
    ),
    ProductType(80, "Scarf", ACCESSORY, "Scarves", "CDFJ", 1299, WINTER, 1.4, 0.2, 1013),
    ProductType(81, "Sunglasses", ACCESSORY, "Sunglasses", "CDFJ", 999, SUMMER, 1.3, 0.2, 621),
    ProductType(68, "Necklace", ACCESSORY, "Jewellery", "CDJ", 799, SUMMER, 0.2, 0.3, 581),
    ProductType(71, "Cap/peaked", ACCESSORY, "Hats", "CDFGJS", 999, SUMMER, 0.8, 0.2, 573),
    ProductType(67, "Belt", ACCESSORY, "Belts", "CDFJ", 999, 0, 0.0, 0.3, 458),
    ProductType(73, "Hat/brim", ACCESSORY, "Hats", "CDFJ", 1499, SUMMER, 1.2, 0.2, 396),
    ProductType(69, "Gloves", ACCESSORY, "Gloves", "CDFJS", 999, WINTER, 1.8, 0.3, 367),
    ProductType(
        75, "Hair/alice band", ACCESSORY, "Hair Accessories", "CDJ", 599, SPRING, 0.2, 0.8, 315
    ),
    ProductType(77, "Hair clip", ACCESSORY, "Hair Accessories", "CDJ", 499, SPRING, 0.2, 1.2, 244),
    ProductType(82, "Ring", ACCESSORY, "Jewellery", "CDJ", 699, SUMMER, 0.2, 0.4, 240),
    ProductType(74, "Hair string", ACCESSORY, "Hair Accessories", "CDJ", 399, 0, 0.0, 1.5, 238),
    ProductType(65, "Bracelet", ACCESSORY, "Jewellery", "CDJ", 599, SUMMER, 0.3, 0.3, 180),
    ProductType(83, "Tie", ACCESSORY, "Small Accessories", "F", 1499, SPRING, 0.2, 0.3, 141),
    ProductType(84, "Wallet", ACCESSORY, "Small Accessories", "CDFJ", 1299, WINTER, 0.3, 0.2, 77),
    ProductType(85, "Watch", ACCESSORY, "Small Accessories", "CDFJ", 1999, WINTER, 0.3, 0.1, 73),
    ProductType(86, "Beanie", ACCESSORY, "Hats", "CDFJ", 999, WINTER, 1.4, 0.2, 56),
    ProductType(496, "Soft Toys", ACCESSORY, "Other Accessories", "J", 999, WINTER, 0.6, 0.2, 46),
    ProductType(489, "Umbrella", ACCESSORY, "Small Accessories", "CJ", 1299, AUTUMN, 0.6, 0.2, 26),
    ProductType(491, "Hair ties", ACCESSORY, "Hair Accessories", "C", 399, 0, 0.0, 1.5, 24),
    ProductType(
        512, "Waterbottle", ACCESSORY, "Other Accessories", "JS", 999, SUMMER, 0.4, 0.2, 22
    ),
    ProductType(464, "Cap", ACCESSORY, "Hats", "CFJ", 999, SUMMER, 0.6, 0.2, 13),
    ProductType(515, "Earrings", ACCESSORY, "Jewellery", "C", 699, SUMMER, 0.2, 0.4, 11),
    ProductType(465, "Felt hat", ACCESSORY, "Hats", "C", 1999, AUTUMN, 0.9, 0.1, 10),
    ProductType(509, "Bucket hat", ACCESSORY, "Hats", "DF", 999, SUMMER, 1.0, 0.2, 7),
    ProductType(
        529, "Accessories set", ACCESSORY, "Other Accessories", "CJ", 1299, WINTER, 0.6, 0.2, 7
    ),
    ProductType(466, "Straw hat", ACCESSORY, "Hats", "C", 1799, SUMMER, 1.8, 0.1, 6),
    ProductType(467, "Alice band", ACCESSORY, "Hair Accessories", "CJ", 499, SPRING, 0.2, 0.8, 6),
    ProductType(468, "Baby Bib", ACCESSORY, "Other Accessories", "G", 499, 0, 0.0, 0.8, 3),
    ProductType(470, "Braces", ACCESSORY, "Small Accessories", "F", 1299, SPRING, 0.2, 0.1, 3),
    ProductType(
        521, "Other Hair clip", ACCESSORY, "Hair Accessories", "C", 499, SPRING, 0.2, 0.8, 3
    ),
    ProductType(525, "Keychain", ACCESSORY, "Small Accessories", "C", 499, WINTER, 0.4, 0.2, 2),
    ProductType(522, "Hairband", ACCESSORY, "Hair Accessories", "C", 599, SPRING, 0.2, 0.6, 2),
    ProductType(532, "Eyeglasses", ACCESSORY, "Sunglasses", "C", 1299, 0, 0.0, 0.2, 2),
    ProductType(523, "Headband", ACCESSORY, "Hair Accessories", "C", 699, WINTER, 0.6, 0.4, 1),
    ProductType(94, "Sneakers", SHOES, "Sneakers", "CDFJS", 2999, SPRING, 0.3, 0.2, 1621),
    ProductType(87, "Boots", SHOES, "Boots", "CDFJ", 4999, AUTUMN, 1.3, 0.1, 1028),
    ProductType(91, "Sandals", SHOES, "Sandals", "CDFJ", 2499, SUMMER, 1.5, 0.1, 757),
    ProductType(95, "Other shoe", SHOES, "Shoes", "CFGJ", 2499, SPRING, 0.2, 0.2, 395),
    ProductType(88, "Ballerinas", SHOES, "Shoes", "CDJ", 1999, SPRING, 0.4, 0.2, 393),
    ProductType(93, "Slippers", SHOES, "Shoes", "CFJ", 1299, WINTER, 1.0, 0.4, 249),
    ProductType(90, "Pumps", SHOES, "Shoes", "CD", 2999, SPRING, 0.2, 0.1, 217),
    ProductType(492, "Heeled sandals", SHOES, "Sandals", "CD", 3499, SUMMER, 1.1, 0.1, 202),
    ProductType(89, "Flat shoe", SHOES, "Shoes", "CF", 2999, SPRING, 0.2, 0.1, 165),
    ProductType(92, "Flip flop", SHOES, "Sandals", "CFJ", 599, SUMMER, 1.9, 0.3, 125),
    ProductType(96, "Wedge", SHOES, "Sandals", "C", 3499, SUMMER, 1.2, 0.1, 113),
    ProductType(494, "Bootie", SHOES, "Boots", "CJ", 3999, AUTUMN, 1.0, 0.1, 59),
    ProductType(495, "Heels", SHOES, "Shoes", "C", 3499, SPRING, 0.2, 0.1, 22),
    ProductType(498, "Flat shoes", SHOES, "Shoes", "F", 2999, SPRING, 0.2, 0.1, 5),
    ProductType(497, "Moccasins", SHOES, "Shoes", "F", 3499, SPRING, 0.4, 0.1, 4),
    ProductType(499, "Pre-walkers", SHOES, "Shoes", "J", 1499, SPRING, 0.2, 0.2, 1),
    ProductType(-1, "Unknown", UNKNOWN, "Other", "ACDFHJ", 1499, 0, 0.0, 0.4, 121),
    ProductType(510, "Fine cosmetics", COSMETIC, "Beauty", "CD", 799, WINTER, 0.2, 0.9, 46),
    ProductType(511, "Chem. cosmetics", COSMETIC, "Beauty", "C", 999, WINTER, 0.2, 0.9, 3),
    ProductType(502, "Backpack", BAGS, "Bags", "DJ", 2499, 230, 0.6, 0.1, 7),
    ProductType(500, "Weekend/Gym bag", BAGS, "Bags", "CFS", 2999, SUMMER, 0.3, 0.1, 6),
    ProductType(501, "Cross-body bag", BAGS, "Bags", "CF", 1999, SPRING, 0.2, 0.2, 6),
    ProductType(503, "Tote bag", BAGS, "Bags", "C", 1999, SUMMER, 0.3, 0.2, 3),
    ProductType(504, "Shoulder bag", BAGS, "Bags", "C", 2499, SPRING, 0.2, 0.2, 2),
    ProductType(505, "Bumbag", BAGS, "Bags", "D", 1499, SUMMER, 0.6, 0.1, 1),
    ProductType(513, "Dog Wear", ITEMS, "Other Accessories", "C", 1499, WINTER, 1.2, 0.2, 8),
    ProductType(514, "Giftbox", ITEMS, "Other Accessories", "C", 499, WINTER, 1.6, 0.4, 4),
    ProductType(527, "Mobile case", ITEMS, "Small Accessories", "CD", 999, WINTER, 0.3, 0.2, 3),
    ProductType(
        528, "Wireless earphone case", ITEMS, "Small Accessories", "CD", 999, WINTER, 0.4, 0.2, 2
    ),
    ProductType(516, "Side table", FURNITURE, "Home", "A", 7999, AUTUMN, 0.2, 0.1, 13),
    ProductType(517, "Stain remover spray", CARE, "Care", "A", 599, 0, 0.0, 1.2, 2),
    ProductType(518, "Washing bag", CARE, "Care", "A", 699, 0, 0.0, 0.6, 1),
    ProductType(519, "Sewing kit", CARE, "Care", "A", 499, 0, 0.0, 0.4, 1),
    ProductType(520, "Wood balls", CARE, "Care", "A", 499, 0, 0.0, 0.5, 1),
    ProductType(524, "Clothing mist", CARE, "Care", "A", 799, 0, 0.0, 0.9, 2),
    ProductType(526, "Zipper head", CARE, "Care", "A", 399, 0, 0.0, 0.3, 1),
    ProductType(530, "Shoe polish", CARE, "Care", "A", 499, AUTUMN, 0.3, 0.6, 1),
    ProductType(531, "Marker pen", STATIONERY, "Home", "D", 499, 240, 0.5, 0.6, 5),
    ProductType(506, "Blanket", INTERIOR, "Home", "A", 2999, WINTER, 0.9, 0.2, 1),
    ProductType(507, "Cushion", INTERIOR, "Home", "A", 1499, AUTUMN, 0.3, 0.2, 1),
    ProductType(508, "Towel", INTERIOR, "Home", "A", 1299, SUMMER, 0.4, 0.5, 1),
    ProductType(533, "Toy", FUN, "Other Accessories", "J", 999, WINTER, 0.8, 0.2, 2),
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
    """One index of the catalogue; `supply` is its articles in a catalogue of H&M's size."""

    code: str
    name: str
    group: int
    supply: int


INDEXES = (
    Index("A", "Ladieswear", LADIES, 26_001),
    Index("B", "Lingeries/Tights", LADIES, 6_775),
    Index("C", "Ladies Accessories", LADIES, 6_961),
    Index("D", "Divided", DIVIDED, 15_149),
    Index("F", "Menswear", MEN, 12_553),
    Index("G", "Baby Sizes 50-98", CHILDREN, 8_875),
    Index("H", "Children Sizes 92-140", CHILDREN, 12_007),
    Index("I", "Children Sizes 134-170", CHILDREN, 9_214),
    Index("J", "Children Accessories, Swimwear", CHILDREN, 4_615),
    Index("S", "Sport", SPORT, 3_392),
)

STYLES = ("classic", "sporty", "romantic", "bold")
CLASSIC, SPORTY, ROMANTIC, BOLD = range(4)

# How much a line (or an index, by its code) leans to one style, in standard deviations.
STYLE_LEANINGS = {
    "Blazers": (CLASSIC, 0.6),
    "Shirts": (CLASSIC, 0.4),
    "Knitwear": (CLASSIC, 0.2),
    "Leggings": (SPORTY, 0.6),
    "Sneakers": (SPORTY, 0.8),
    "Outdoor": (SPORTY, 0.3),
    "Dresses": (ROMANTIC, 0.4),
    "Blouses": (ROMANTIC, 0.5),
    "Lingerie": (ROMANTIC, 0.5),
    "S": (SPORTY, 1.2),
    "D": (BOLD, 0.3),
}


@dataclass(frozen=True)
class Section:
    """One section of an index: a share of the index's products in those `lines` that it sells.

    `look` is the position in STYLES that it favours, and `department` how it calls a line. A
    section without lines takes what no other section of its index sells.
    """

    number: int
    name: str
    index: str
    department: str
    supply: float
    look: int | None
    lines: tuple[str, ...]


_TOPS = ("Jersey Basic", "Jersey Fancy", "Knitwear")
_CHILD = (*_TOPS, "Trousers", "Denim", "Shorts")
_GIRL = (*_CHILD, "Blouses", "Leggings", "Skirts", "Dresses", "Jumpsuits")
_SHOES = ("Sneakers", "Boots", "Sandals", "Shoes")

# fmt: off
SECTIONS = (
    Section(15, "Womens Everyday Collection", "A", "{} EC", 7.0, ROMANTIC,
            (*_TOPS, "Blouses", "Shirts", "Trousers", "Leggings", "Shorts", "Skirts", "Dresses",
             "Jumpsuits", "Blazers")),
    Section(11, "Womens Tailoring", "A", "Tailored {}", 4.0, CLASSIC,
            ("Blazers", "Trousers", "Blouses", "Shirts", "Skirts", "Dresses")),
    Section(6, "Womens Casual", "A", "Casual {}", 4.0, SPORTY,
            (*_TOPS, "Shirts", "Trousers", "Shorts", "Dresses")),
    Section(19, "Womens Trend", "A", "{} Trend", 2.5, BOLD,
            ("Jersey Fancy", "Knitwear", "Blouses", "Trousers", "Dresses")),
    Section(16, "Womens Everyday Basics", "A", "{} ladies", 4.0, None,
            ("Jersey Basic", "Leggings")),
    Section(12, "Womens Jackets", "A", "Ladies {}", 20.0, None, ("Outdoor",)),
    Section(57, "Ladies Denim", "A", "Ladies {}", 20.0, None, ("Denim",)),
    Section(8, "Mama", "A", "Mama {}", 1.2, None,
            (*_TOPS, "Trousers", "Dresses")),
    Section(2, "H&M+", "A", "{} H&M+", 1.8, None,
            (*_TOPS, "Trousers", "Dresses")),
    Section(97, "Womens Premium", "A", "{} Premium", 1.0, CLASSIC,
            ("Knitwear", "Trousers", "Dresses")),
    Section(71, "Collaborations", "A", "{} Collaborations", 0.5, BOLD,
            ("Dresses", "Blouses")),
    Section(4, "Special Collections", "A", "EQ & Special {}", 0.6, ROMANTIC,
            ("Dresses", "Blouses")),
    Section(24, "Ladies Other", "A", "{} items ladies", 1.0, None, ()),
    Section(61, "Womens Lingerie", "B", "{}", 1.0, None, ("Lingerie", "Underwear")),
    Section(60, "Womens Swimwear, beachwear", "B", "{}", 1.0, None, ("Swimwear",)),
    Section(62, "Womens Nightwear, Socks & Tigh", "B", "{}", 1.0, None,
            ("Nightwear", "Socks", "Tights")),
    Section(64, "Womens Shoes", "C", "{}", 1.0, None, _SHOES),
    Section(66, "Womens Small accessories", "C", "{}", 1.0, None,
            ("Jewellery", "Hair Accessories", "Sunglasses", "Small Accessories", "Beauty")),
    Section(65, "Womens Big accessories", "C", "{}", 1.0, None, ()),
    Section(53, "Divided Collection", "D", "Divided {}", 5.0, ROMANTIC,
            ("Jersey Fancy", "Knitwear", "Blouses", "Shirts", "Outdoor", "Blazers", "Trousers",
             "Denim", "Shorts", "Skirts", "Dresses", "Jumpsuits")),
    Section(51, "Divided Basics", "D", "{} DB", 4.0, CLASSIC,
            ("Jersey Basic", "Jersey Fancy", "Leggings", "Trousers")),
    Section(50, "Divided Projects", "D", "{} DP", 1.5, SPORTY,
            ("Jersey Fancy", "Knitwear", "Trousers", "Shorts")),
    Section(58, "Divided Selected", "D", "{} DS", 3.0, BOLD,
            ("Jersey Fancy", "Knitwear", "Trousers", "Skirts", "Dresses")),
    Section(70, "Divided Asia keys", "D", "{} Asia", 0.4, None,
            ("Jersey Fancy", "Dresses")),
    Section(82, "EQ Divided", "D", "EQ {}", 0.4, None, ("Jersey Fancy", "Dresses")),
    Section(52, "Divided Accessories", "D", "{} Divided", 1.0, None,
            ("Jewellery", "Bags", "Belts", "Scarves", "Gloves", "Hats", "Hair Accessories",
             "Sunglasses", "Small Accessories", "Other Accessories", "Beauty", *_SHOES)),
    Section(80, "Divided Complements Other", "D", "{} Complements", 1.0, None, ()),
    Section(21, "Contemporary Casual", "F", "{} Casual Men", 4.0, SPORTY,
            (*_TOPS, "Shirts", "Trousers", "Shorts")),
    Section(20, "Contemporary Smart", "F", "{} Smart", 4.0, CLASSIC,
            ("Jersey Basic", "Knitwear", "Shirts", "Trousers")),
    Section(55, "Contemporary Street", "F", "{} Street", 3.0, BOLD, (*_TOPS, "Trousers", "Shorts")),
    Section(22, "Men Edition", "F", "{} Edition", 1.0, ROMANTIC,
            ("Knitwear", "Shirts", "Trousers")),
    Section(23, "Men Suits & Tailoring", "F", "{} S&T", 3.0, CLASSIC,
            ("Blazers", "Trousers", "Shirts")),
    Section(29, "Men Project", "F", "Project {}", 0.4, None, ("Jersey Fancy",)),
    Section(48, "Mens Outerwear", "F", "Mens {}", 1.0, None, ("Outdoor",)),
    Section(56, "Denim Men", "F", "{} Men", 1.0, None, ("Denim",)),
    Section(26, "Men Underwear", "F", "Men {}", 1.0, None, ("Underwear", "Nightwear", "Socks")),
    Section(25, "Men Accessories", "F", "Men {}", 1.0, None,
            ("Bags", "Belts", "Scarves", "Gloves", "Hats", "Sunglasses", "Small Accessories",
             "Other Accessories")),
    Section(27, "Men Shoes", "F", "Men {}", 1.0, None, _SHOES),
    Section(30, "Men Other", "F", "Men {}", 1.0, None, ("Swimwear",)),
    Section(31, "Men Other 2", "F", "Men {} items", 1.0, None, ()),
    Section(40, "Baby Girl", "G", "Baby Girl {}", 1.1, None,
            (*_GIRL, "Sets", "Outdoor", "Nightwear")),
    Section(41, "Baby Boy", "G", "Baby Boy {}", 1.5, None,
            (*_CHILD, "Shirts", "Leggings", "Jumpsuits", "Sets", "Outdoor", "Nightwear")),
    Section(44, "Baby Essentials & Complements", "G", "Baby {}", 1.0, None, ()),
    Section(77, "Kids Girl", "H", "Kids Girl {}", 1.1, None, (*_GIRL, "Sets")),
    Section(46, "Kids Boy", "H", "Kids Boy {}", 1.5, None, (*_CHILD, "Shirts", "Sets", "Blazers")),
    Section(45, "Kids Outerwear", "H", "Kids {}", 1.0, None, ("Outdoor",)),
    Section(79, "Girls Underwear & Basics", "H", "Girls {}", 1.2, None,
            ("Lingerie", "Underwear", "Nightwear", "Socks", "Tights")),
    Section(72, "Boys Underwear & Basics", "H", "Boys {}", 1.0, None,
            ("Underwear", "Nightwear", "Socks")),
    Section(42, "Kids Local Relevance", "H", "Kids Local {}", 1.0, None, ()),
    Section(76, "Young Girl", "I", "Young Girl {}", 1.2, None,
            (*_GIRL, "Outdoor", "Sets", "Lingerie", "Underwear", "Nightwear", "Socks", "Tights")),
    Section(47, "Young Boy", "I", "Young Boy {}", 1.5, None,
            (*_CHILD, "Shirts", "Outdoor", "Blazers", "Underwear", "Nightwear", "Socks")),
    Section(49, "Girls Projects", "I", "Girls Project {}", 0.4, None, ("Dresses",)),
    Section(43, "Kids Accessories, Swimwear & D", "J", "Kids {}", 1.0, None, ()),
    Section(14, "Kids & Baby Shoes", "J", "Kids & Baby {}", 1.0, None, _SHOES),
    Section(5, "Ladies H&M Sport", "S", "Ladies Sport {}", 2.5, None,
            (*_TOPS, "Trousers", "Leggings", "Shorts", "Skirts", "Outdoor", "Lingerie", "Sneakers",
             "Bags", "Hats", "Gloves", "Socks", "Other Accessories")),
    Section(28, "Men H&M Sport", "S", "Men Sport {}", 1.0, None,
            (*_TOPS, "Trousers", "Shorts", "Outdoor")),
    Section(74, "Kids Sports", "S", "Kids Sport {}", 0.6, None,
            ("Jersey Basic", "Jersey Fancy", "Trousers")),
)
# fmt: on

# Departments of several lines, by section.
_TOGETHER: dict[int, dict[str, tuple[str, ...]]] = {
    52: {
        "Accessories Divided": ("Belts", "Gloves", "Small Accessories", "Other Accessories"),
        "Shoes Divided": _SHOES,
    },
    25: {"Men Small Accessories": ("Small Accessories", "Other Accessories", "Sunglasses")},
    43: {
        "Kids Gloves/Hats": ("Gloves", "Hats", "Scarves"),
        "Kids Small Accessories": ("Belts", "Small Accessories", "Sunglasses"),
        "Kids Hair/Jewellery": ("Hair Accessories", "Jewellery"),
        "Kids Toys/Acc": ("Other Accessories",),
    },
    44: {"Baby Toys/Acc": ("Other Accessories",)},
    79: {"Girls UW": ("Lingerie", "Underwear")},
    76: {"Young Girl UW/NW": ("Lingerie", "Underwear", "Nightwear")},
    47: {"Young Boy UW/NW": ("Underwear", "Nightwear")},
    5: {"Ladies Sport Acc": ("Bags", "Hats", "Gloves", "Other Accessories")},
}

# Department names by section and line, in the order of STYLES; the others are called as the
# section says. No two sections share a department, and no department two garment groups.
DEPARTMENTS = {
    (section, line): (name,) * 4
    for section, names in _TOGETHER.items()
    for name, lines in names.items()
    for line in lines
} | {
    (61, "Lingerie"): (
        "Clean Lingerie",
        "Functional Lingerie",
        "Expressive Lingerie",
        "Casual Lingerie",
    ),
    (61, "Underwear"): ("Clean Briefs", "Casual Briefs", "Expressive Briefs", "Casual Briefs"),
    (60, "Swimwear"): ("Swimwear", "Swimwear", "Beachwear", "Swimwear fancy"),
    (62, "Nightwear"): ("Nightwear", "Loungewear", "Nightwear fancy", "Loungewear"),
    (62, "Socks"): ("Socks", "Socks Bin", "Socks fancy", "Shopbasket Socks"),
    (62, "Tights"): ("Tights basic", "Tights basic", "Tights fancy", "Tights fancy"),
    (64, "Shoes"): ("Shoes", "Shoes", "Shoes party", "Shoes party"),
    (66, "Jewellery"): ("Jewellery", "Jewellery", "Jewellery Extended", "Jewellery fancy"),
}


@dataclass(frozen=True)
class Colour:
    """One colour group with its perceived lightness and main colour.

    `rgb` is how a picture shows it (0 to 255 each), `supply` its share of the catalogue in percent,
    `appeal` how much likelier it is to be bought than that.
    """

    code: int
    name: str
    value: tuple[int, str]
    master: tuple[int, str]
    rgb: tuple[int, int, int]
    supply: float
    appeal: float = 1.0


_UNKNOWN, _UNDEFINED = (-1, "Unknown"), (7, "Undefined")
_DUSTY, _MEDIUM_DUSTY, _LIGHT = (1, "Dusty Light"), (2, "Medium Dusty"), (3, "Light")
_DARK, _BRIGHT, _MEDIUM = (4, "Dark"), (5, "Bright"), (6, "Medium")

_BLUE, _GREY, _WHITE, _BEIGE = (2, "Blue"), (12, "Grey"), (9, "White"), (11, "Beige")
_PINK, _RED, _GREEN, _YELLOW = (4, "Pink"), (18, "Red"), (19, "Green"), (8, "Yellow")
_ORANGE, _BROWN, _METAL = (3, "Orange"), (13, "Brown"), (14, "Metal")
_LILAC, _TURQUOISE = (6, "Lilac Purple"), (7, "Turquoise")

COLOURS = (
    Colour(9, "Black", _DARK, (5, "Black"), (28, 28, 30), 21.5, 1.65),
    Colour(10, "White", _LIGHT, _WHITE, (250, 250, 250), 9.0, 1.2),
    Colour(11, "Off White", _LIGHT, _WHITE, (240, 234, 220), 2.6),
    Colour(73, "Dark Blue", _DARK, _BLUE, (32, 42, 74), 11.5),
    Colour(72, "Blue", _MEDIUM_DUSTY, _BLUE, (66, 104, 172), 3.1, 1.2),
    Colour(71, "Light Blue", _DUSTY, _BLUE, (168, 198, 226), 2.9, 1.1),
    Colour(70, "Other Blue", _UNDEFINED, _BLUE, (92, 128, 160), 0.03),
    Colour(7, "Grey", _MEDIUM_DUSTY, _GREY, (142, 143, 146), 4.3, 0.8),
    Colour(6, "Light Grey", _DUSTY, _GREY, (204, 205, 207), 2.0, 0.7),
    Colour(8, "Dark Grey", _DARK, _GREY, (76, 78, 83), 2.6, 0.8),
    Colour(12, "Light Beige", _DUSTY, _BEIGE, (231, 216, 194), 3.2, 1.2),
    Colour(13, "Beige", _MEDIUM_DUSTY, _BEIGE, (205, 182, 148), 2.6, 1.1),
    Colour(14, "Dark Beige", _MEDIUM, _BEIGE, (164, 136, 101), 1.1, 0.9),
    Colour(15, "Greyish Beige", _MEDIUM_DUSTY, (1, "Mole"), (163, 150, 136), 0.9, 0.8),
    Colour(51, "Light Pink", _DUSTY, _PINK, (246, 208, 212), 5.5, 0.8),
    Colour(52, "Pink", _MEDIUM, _PINK, (233, 140, 165), 2.3, 0.7),
    Colour(53, "Dark Pink", _BRIGHT, _PINK, (206, 52, 112), 1.3, 0.7),
    Colour(50, "Other Pink", _UNDEFINED, _PINK, (222, 158, 160), 0.6, 0.7),
    Colour(42, "Red", _BRIGHT, _RED, (200, 30, 40), 2.9, 0.8),
    Colour(43, "Dark Red", _DARK, _RED, (110, 24, 38), 2.0, 0.8),
    Colour(41, "Light Red", _MEDIUM, _RED, (231, 104, 96), 0.25, 0.7),
    Colour(40, "Other Red", _UNDEFINED, _RED, (168, 64, 56), 0.03, 0.7),
    Colour(93, "Dark Green", _DARK, _GREEN, (28, 66, 50), 2.0, 0.8),
    Colour(92, "Green", _MEDIUM, _GREEN, (62, 142, 84), 1.0, 0.7),
    Colour(91, "Light Green", _DUSTY, (10, "Yellowish Green"), (188, 214, 160), 0.9, 0.7),
    Colour(90, "Other Green", _UNDEFINED, _GREEN, (110, 140, 96), 0.02, 0.7),
    Colour(19, "Greenish Khaki", _MEDIUM_DUSTY, (20, "Khaki green"), (108, 106, 72), 2.6, 0.9),
    Colour(22, "Yellow", _BRIGHT, _YELLOW, (248, 206, 40), 1.5, 0.6),
    Colour(21, "Light Yellow", _LIGHT, _YELLOW, (250, 238, 166), 1.0, 0.6),
    Colour(23, "Dark Yellow", _MEDIUM, _YELLOW, (204, 154, 36), 0.8, 0.7),
    Colour(20, "Other Yellow", _UNDEFINED, _YELLOW, (224, 200, 104), 0.08, 0.6),
    Colour(32, "Orange", _BRIGHT, _ORANGE, (240, 124, 36), 1.1, 0.6),
    Colour(31, "Light Orange", _DUSTY, _ORANGE, (250, 196, 158), 1.3, 0.8),
    Colour(33, "Dark Orange", _MEDIUM, _ORANGE, (190, 88, 40), 0.7, 0.8),
    Colour(30, "Other Orange", _UNDEFINED, _ORANGE, (222, 152, 98), 0.04, 0.7),
    Colour(17, "Yellowish Brown", _MEDIUM_DUSTY, _BROWN, (138, 92, 52), 1.5, 0.9),
    Colour(61, "Light Purple", _DUSTY, _LILAC, (208, 190, 226), 0.8, 0.8),
    Colour(62, "Purple", _MEDIUM, _LILAC, (128, 84, 158), 0.14, 0.7),
    Colour(63, "Dark Purple", _DARK, _LILAC, (70, 34, 78), 0.24, 0.8),
    Colour(60, "Other Purple", _UNDEFINED, _LILAC, (152, 120, 154), 0.03, 0.7),
    Colour(82, "Turquoise", _BRIGHT, _TURQUOISE, (32, 172, 184), 0.36, 0.7),
    Colour(81, "Light Turquoise", _LIGHT, _TURQUOISE, (168, 224, 220), 0.27, 0.7),
    Colour(83, "Dark Turquoise", _DARK, (16, "Bluish Green"), (16, 94, 102), 0.3, 0.7),
    Colour(80, "Other Turquoise", _UNDEFINED, _TURQUOISE, (96, 174, 166), 0.02, 0.7),
    Colour(5, "Gold", _BRIGHT, _METAL, (206, 166, 84), 1.3, 0.9),
    Colour(3, "Silver", _LIGHT, _METAL, (192, 194, 198), 0.66, 0.8),
    Colour(4, "Bronze/Copper", _MEDIUM, _METAL, (168, 104, 66), 0.09, 0.8),
    Colour(2, "Transparent", _UNDEFINED, (15, "undefined"), (226, 234, 238), 0.08, 0.8),
    Colour(1, "Other", _UNDEFINED, (15, "undefined"), (168, 152, 160), 0.07, 0.8),
    Colour(-1, "Unknown", _UNKNOWN, (-1, "Unknown"), (178, 178, 172), 0.03, 0.8),
)
COLOUR_MASTERS = tuple(dict.fromkeys(colour.master[1] for colour in COLOURS))

# How many times likelier a colour group is in one palette than in the others; one that is not
# named counts `other`.
PALETTES = {
    "plain": {"Gold": 0.5, "Silver": 0.6, "Bronze/Copper": 0.6, "other": 1.0},
    "men": {
        "Dark Blue": 1.6,
        "Greenish Khaki": 1.5,
        "Dark Grey": 1.6,
        "Grey": 1.4,
        "Light Pink": 0.2,
        "Pink": 0.1,
        "Dark Pink": 0.1,
        "Light Purple": 0.3,
        "Gold": 0.01,
        "Silver": 0.01,
        "other": 1.0,
    },
    "children": {
        "Black": 0.35,
        "Light Pink": 2.2,
        "Pink": 2.2,
        "Dark Pink": 1.6,
        "Dark Blue": 1.5,
        "Turquoise": 2.0,
        "Yellow": 1.6,
        "Light Turquoise": 1.8,
        "Gold": 0.1,
        "Silver": 0.2,
        "other": 1.0,
    },
    "sport": {"Black": 1.4, "Gold": 0.05, "Silver": 0.2, "other": 1.0},
    "metal": {
        "Gold": 60.0,
        "Silver": 50.0,
        "Bronze/Copper": 40.0,
        "Transparent": 8.0,
        "Black": 0.5,
        "other": 0.5,
    },
    "denim": {
        "Blue": 12.0,
        "Light Blue": 9.0,
        "Dark Blue": 3.0,
        "Black": 1.0,
        "Grey": 1.5,
        "Dark Grey": 2.5,
        "Light Grey": 0.8,
        "White": 0.5,
        "Other Blue": 20.0,
        "other": 0.0,
    },
}

_METAL_LINES = ("Jewellery",)
_HARD = ("Sunglasses", "Belts", "Small Accessories", "Boots", "Beauty", "Home", "Care")
_SHOD = ("Sneakers", "Sandals", "Shoes")
_SOFT = tuple(line for line in LINES if line not in {*_METAL_LINES, *_HARD, *_SHOD})
_KNITTED = ("Knitwear", "Jersey Basic", "Jersey Fancy", "Socks", "Hats", "Scarves", "Gloves")
_WOVEN = ("Blouses", "Shirts", "Dresses", "Skirts", "Trousers", "Shorts", "Jumpsuits")


class Pattern(NamedTuple):
    """One graphical appearance: `supply` is its share of the catalogue in percent, `style` the
    style it speaks of (None: any) and `lines` how readily each line takes it (None: all alike)."""

    number: int
    name: str
    supply: float
    style: int | None
    lines: dict[str, float] | None


def _on(*lines: str, **more: float) -> dict[str, float]:
    """1 for each of `lines`, and the number given for others (`_` stands for a space)."""
    return dict.fromkeys(lines, 1.0) | {line.replace("_", " "): n for line, n in more.items()}


PATTERNS = (
    Pattern(1010016, "Solid", 47.1, None, None),
    Pattern(1010001, "All over pattern", 16.3, ROMANTIC, _on(*_SOFT, *_SHOD, Hair_Accessories=0.5)),
    Pattern(1010010, "Melange", 5.6, SPORTY, _on(*_KNITTED, "Leggings", "Sets", Trousers=0.4)),
    Pattern(1010017, "Stripe", 4.8, CLASSIC, _on(*_SOFT)),
    Pattern(
        1010023,
        "Denim",
        4.6,
        None,
        _on(Trousers=10, Shorts=8, Skirts=4, Outdoor=3, Dresses=0.5, Shirts=1.5, Jumpsuits=2),
    ),
    Pattern(1010004, "Check", 2.1, CLASSIC, _on(*_WOVEN, "Outdoor", "Blazers", "Scarves")),
    Pattern(1010006, "Dot", 0.7, ROMANTIC, _on(*_SOFT)),
    Pattern(
        1010008,
        "Front print",
        3.0,
        BOLD,
        _on(Jersey_Basic=5, Jersey_Fancy=3, Knitwear=1.5, Nightwear=2, Sets=2),
    ),
    Pattern(1010021, "Lace", 1.4, ROMANTIC, _on(Lingerie=8, Underwear=3, Blouses=1, Dresses=0.6)),
    Pattern(1010005, "Colour blocking", 1.7, SPORTY, _on(*_SOFT, *_SHOD)),
    Pattern(
        1010014,
        "Placement print",
        2.9,
        BOLD,
        _on(Jersey_Basic=3, Jersey_Fancy=3, Knitwear=2, Nightwear=2, Sets=2, Swimwear=2, Socks=1),
    ),
    Pattern(1010026, "Other structure", 1.4, CLASSIC, None),
    Pattern(1010002, "Application/3D", 1.3, ROMANTIC, None),
    Pattern(1010007, "Embroidery", 1.1, ROMANTIC, _on(*_SOFT)),
    Pattern(1010012, "Mixed solid/pattern", 1.1, BOLD, _on(*_SOFT, *_SHOD)),
    Pattern(
        1010009,
        "Glittering/Metallic",
        0.9,
        BOLD,
        _on(*_SHOD, Hair_Accessories=2, Jersey_Fancy=0.4, Knitwear=0.3, Bags=1, Socks=0.5),
    ),
    Pattern(1010022, "Jacquard", 0.8, CLASSIC, _on("Knitwear", *_WOVEN, "Socks", "Scarves")),
    Pattern(1010015, "Sequin", 0.7, BOLD, _on("Jersey Fancy", "Dresses", "Bags", "Skirts")),
    Pattern(1010018, "Treatment", 0.6, SPORTY, _on(*_WOVEN, *_TOPS)),
    Pattern(1010013, "Other pattern", 0.5, BOLD, None),
    Pattern(1010020, "Contrast", 0.4, SPORTY, _on(*_SOFT, *_SHOD)),
    Pattern(
        1010011,
        "Metallic",
        0.35,
        BOLD,
        _on(*_SHOD, Jewellery=6, Belts=1, Bags=1, Hair_Accessories=1, Boots=0.5),
    ),
    Pattern(1010024, "Chambray", 0.3, CLASSIC, _on(*_WOVEN)),
    Pattern(1010025, "Slub", 0.15, CLASSIC, _on("Jersey Basic", "Blouses", "Shirts")),
    Pattern(1010027, "Mesh", 0.08, SPORTY, _on("Jersey Fancy", "Lingerie", "Leggings")),
    Pattern(1010029, "Transparent", 0.08, BOLD, _on("Blouses", "Tights", "Bags", "Sunglasses")),
    Pattern(1010028, "Neps", 0.06, CLASSIC, _on("Knitwear", "Jersey Basic")),
    Pattern(-1, "Unknown", 0.05, None, None),
    Pattern(1010003, "Argyle", 0.03, CLASSIC, _on("Knitwear", "Socks")),
    Pattern(1010030, "Hologram", 0.03, BOLD, _on("Bags", "Sneakers", "Jersey Fancy")),
)
SOLID, MELANGE, DENIM = 0, 2, 4
