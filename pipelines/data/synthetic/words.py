"""The words of the made-up catalogue: names and descriptions of products.

A description is made of one word or phrase from each column of a Vocabulary:

    {cut} {pattern} {noun} in {fabric} with {first}, {second} and {third}. {closing} {finish} {size}
"""

from typing import NamedTuple


class Vocabulary(NamedTuple):
    """How products of one line are described.

    `cuts` holds two words for each of STYLES, in their order. `closings` and `finishes` are whole
    sentences; `size` is a sentence with one number, and that number's least, most and step.
    """

    cuts: tuple[str, ...]
    fabrics: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    third: tuple[str, ...]
    closings: tuple[str, ...]
    finishes: tuple[str, ...]
    size: tuple[str, float, float, float]


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.split("|"))


def _vocabulary(
    cuts: str,
    fabrics: str,
    first: str,
    second: str,
    third: str,
    closings: str,
    finishes: str,
    size: tuple[str, float, float, float],
) -> Vocabulary:
    """Every column as one text, phrases divided by bars."""
    return Vocabulary(
        cuts=_phrases(cuts),
        fabrics=_phrases(fabrics),
        first=_phrases(first),
        second=_phrases(second),
        third=_phrases(third),
        closings=_phrases(closings),
        finishes=_phrases(finishes),
        size=size,
    )


_JERSEY = _vocabulary(
    "Fitted|Straight-cut|Relaxed-fit|Regular-fit|Softly draped|Slim-fit|Oversized|Cropped",
    "soft jersey|organic cotton jersey|ribbed jersey|a viscose jersey|slub jersey|stretch jersey"
    "|a modal blend|airy cotton jersey|heavyweight jersey|waffled jersey",
    "a round neckline|a V-neck|a boat neck|a square neckline|a wide neckline|a small stand-up collar"
    "|a scooped neckline|a neckline with a small notch",
    "short sleeves|long sleeves|cap sleeves|dropped shoulders|raglan sleeves|puff sleeves"
    "|three-quarter sleeves|gently gathered shoulders",
    "a straight-cut hem|a rounded hem|a chest pocket|slits in the sides|a rolled edge"
    "|a knot at the front|ribbing around the neckline|overlocked edges|a slightly longer back",
    "Buttons at the neck.|Buttons on one shoulder.|A concealed press-stud at the neck."
    "|An opening with a button at the back of the neck.",
    "Made partly from recycled polyester.|The cotton content is organic.|Soft brushed inside."
    "|Lined at the front.|Taped seam at the back of the neck.",
    ("Length {} cm.", 38, 78, 1),
)

VOCABULARIES = {
    "Jersey Basic": _JERSEY,
    "Jersey Fancy": _JERSEY,
    "Knitwear": _vocabulary(
        "Classic|Fine-knit|Relaxed-fit|Loose-knit|Soft|Fluffy|Oversized|Chunky",
        "a wool blend|rib-knit cotton|a soft cable knit|a mohair blend|fine-knit cotton"
        "|a pointelle knit|a cashmere blend|a moss-stitched knit|a bouclé knit|brushed knit fabric",
        "a polo neck|a round neckline|a V-neck|a turtle neck|a wide neckline|a shawl collar"
        "|a stand-up collar|a boat neck",
        "long sleeves|dropped shoulders|long raglan sleeves|balloon sleeves|wide sleeves"
        "|puff sleeves|short sleeves|low armholes",
        "ribbing at the cuffs and hem|a slightly longer back|slits in the sides|a ribbed yoke"
        "|front pockets|a rolled edge|decorative seams|a raw-edge hem",
        "Buttons down the front.|Zip down the front.|Concealed hook-and-eye fastener."
        "|Buttons on one shoulder.|Short zip at the top.",
        "Contains recycled wool.|The polyester content is recycled.|Unlined.|Double-knit hem."
        "|Elbow patches.",
        ("Length {} cm.", 40, 84, 1),
    ),
    "Blouses": _vocabulary(
        "Straight-cut|Classic|Loose-fit|Easy-fit|Airy|Softly gathered|Wide|Short",
        "woven viscose|airy chiffon|crêpe|satin|cotton poplin|crinkled fabric|plumeti chiffon"
        "|a Tencel blend|cotton voile|georgette",
        "a collar|a V-neck|a pussy bow|a frilled collar|a round neckline with gathers"
        "|a wrapover front|a small stand-up collar|a square neckline",
        "long balloon sleeves|short puff sleeves|wide cuffs with covered buttons|flutter sleeves"
        "|long sleeves with a slit|three-quarter sleeves|raglan sleeves|sleeveless armholes with lace",
        "a gathered yoke|pin-tucks at the front|a rounded hem|a peplum|a narrow tie at the waist"
        "|lace trims|smocking at the waist|a pleat at the back",
        "Buttons down the front.|Opening at the back of the neck with a covered button."
        "|Concealed zip at the back.|Ties at the neck.|Opening at the front.",
        "Unlined.|Lined at the front.|Jersey lining.|Made from recycled polyester."
        "|The viscose content comes from managed forests.",
        ("Length {} cm.", 48, 80, 1),
    ),
    "Shirts": _vocabulary(
        "Tailored|Regular-fit|Relaxed-fit|Easy-iron|Slim-fit|Airy|Oversized|Boxy",
        "cotton poplin|an airy linen blend|oxford cotton|cotton twill|washed cotton|flannel"
        "|corduroy|premium cotton|seersucker|a lyocell blend",
        "a button-down collar|a turn-down collar|a grandad collar|a resort collar|a cutaway collar"
        "|a small stand-up collar|a straight collar band",
        "long sleeves with adjustable cuffs|short sleeves|dropped shoulders|roll-up sleeves with a tab"
        "|wide cuffs|concealed sleeve slits|a yoke at the back",
        "an open chest pocket|a rounded hem|flap chest pockets|a box pleat at the back"
        "|darts at the back|a straight hem|slits in the sides",
        "Buttons down the front.|Concealed buttons.|Press-studs down the front."
        "|Classic front and short opening.|Mother-of-pearl buttons.",
        "Unlined.|The cotton content is organic.|Easy-iron finish.|Contains recycled cotton."
        "|Garment-washed for a soft feel.",
        ("Length {} cm.", 42, 86, 1),
    ),
    "Outdoor": _vocabulary(
        "Straight-cut|Classic|Lightweight|Functional|Softly padded|Quilted|Oversized|Short",
        "water-repellent fabric|woven fabric|a wool blend|imitation leather|windproof nylon"
        "|washed cotton twill|soft pile|imitation suede|softshell|corduroy",
        "a detachable hood|a stand-up collar|notch lapels|a lined hood with a drawstring"
        "|a collar with pile|a wide collar|a ribbed collar",
        "a chin guard|a concealed inner pocket|long sleeves with a tab|ribbed cuffs|epaulettes"
        "|adjustable cuffs|elastication inside the cuffs",
        "welt front pockets|zipped side pockets|flap pockets|a detachable tie belt"
        "|a drawstring at the hem|a back vent|diagonal side pockets|a chest pocket",
        "Zip down the front.|Wind flap with press-studs.|Buttons down the front."
        "|Double-breasted with large buttons.|Concealed press-studs.|Two-way zip.",
        "Lined.|Quilted lining.|Partly lined.|Filling of recycled polyester.|Mesh lining."
        "|Fleece lining.",
        ("Length {} cm.", 40, 118, 1),
    ),
    "Blazers": _vocabulary(
        "Tailored|Fitted|Straight-cut|Relaxed|Softly draped|Waisted|Oversized|Boxy",
        "woven stretch fabric|a wool blend|a linen blend|crêpe|cotton twill|corduroy|jersey"
        "|recycled suiting fabric",
        "notch lapels|peak lapels|a shawl collar|narrow lapels|a collarless front|satin lapels",
        "decorative buttons at the cuffs|padded shoulders|gathered sleeves|long sleeves"
        "|turn-ups at the cuffs|covered buttons",
        "flap front pockets|jetted pockets|a chest pocket|a single back vent|two back vents"
        "|inner pockets|fake welt pockets",
        "Single-breasted with one button.|Two buttons at the front.|Double-breasted."
        "|Hook-and-eye fastener.|Open front.",
        "Lined.|Partly lined.|Unlined.|Lined in recycled polyester.",
        ("Length at the back {} cm.", 52, 82, 1),
    ),
    "Trousers": _vocabulary(
        "Tailored|Straight|Relaxed-fit|Tapered|Wide|Flared|Loose-fit|Ankle-length",
        "woven fabric|stretch twill|washed cotton|a linen blend|sweatshirt fabric|corduroy|crêpe"
        "|a stretch weave|airy viscose|cotton poplin",
        "a high waist|a regular waist|an elasticated waist|a paper-bag waist|a low waist"
        "|a waist with pleats|a drawstring waist|a covered elasticated waistband",
        "side pockets|zipped leg pockets|welt back pockets|fake back pockets|diagonal side pockets"
        "|patch pockets|flap leg pockets|cargo pockets",
        "straight legs|tapered legs|wide legs|creases at the front|ribbed hems|slits at the hems"
        "|turn-ups|flared legs|elasticated hems|adjustable hems",
        "Zip fly and button.|Zip fly with a concealed hook-and-eye fastener.|Concealed zip in the side."
        "|Press-stud and zip fly.|Tie belt at the waist.",
        "Unlined.|Lined at the front.|Made partly from recycled polyester.|Soft brushed inside."
        "|The cotton content is organic.",
        ("Inside leg {} cm.", 30, 84, 1),
    ),
    "Denim": _vocabulary(
        "Straight|Regular-fit|Slim-fit|Tapered|Skinny|Flared|Loose-fit|Mom-fit",
        "washed denim|superstretch denim|rigid denim|an organic cotton denim|hard-worn denim"
        "|soft stretch denim|recycled denim|lightweight denim",
        "a high waist|a regular waist|a low waist|an elasticated waist|an adjustable waist"
        "|an extra-high waist",
        "five pockets|back pockets with embroidery|fake front pockets|side and back pockets"
        "|patch back pockets|a coin pocket",
        "straight legs|skinny legs|tapered legs|raw-edge hems|heavily distressed details"
        "|wide legs|flared hems|turn-ups|slits at the hems",
        "Zip fly and button.|Button fly.|Zip fly and metal button.|Press-stud and zip fly.",
        "Made partly from recycled cotton.|Shaping panels at the front.|Washed with less water."
        "|The cotton content is organic.",
        ("Inside leg {} cm.", 32, 84, 1),
    ),
    "Leggings": _vocabulary(
        "Fitted|Simple|Fast-drying|Functional|Soft|Ribbed|Shaping|Shiny",
        "soft jersey|organic cotton jersey|fast-drying fabric|ribbed jersey|stretch jersey"
        "|recycled functional fabric|scuba|thick jersey",
        "an elasticated waist|a high waist|a wide waistband|a wrapover waist|a drawstring waist",
        "flat seams|a concealed key pocket|mesh sections|side stripes|a gusset|fake front pockets",
        "ankle-length legs|flared hems|reflective details|slits at the hems|stirrups"
        "|turn-ups|panels that shape the seat",
        "Zip at the ankle.|Concealed waistband pocket.|Drawstring inside the waistband.",
        "Soft brushed inside.|The polyester content is recycled.|The cotton content is organic."
        "|Seamless.",
        ("Inside leg {} cm.", 30, 76, 1),
    ),
    "Shorts": _vocabulary(
        "Tailored|Straight-cut|Running|Relaxed-fit|Wide|Softly gathered|Loose-fit|Short",
        "washed cotton|stretch twill|a linen blend|sweatshirt fabric|woven fabric"
        "|fast-drying fabric|cotton poplin|airy viscose",
        "a high waist|an elasticated waist|a regular waist|a drawstring waist|a paper-bag waist"
        "|pleats at the waist",
        "side pockets|welt back pockets|patch pockets|cargo pockets|a back pocket with a flap"
        "|discreet seam pockets",
        "turn-ups|raw-edge hems|slits in the sides|a frilled trim|creases at the front|wide legs"
        "|crocheted hems|mesh sections",
        "Zip fly and button.|Concealed zip in the side.|Tie belt at the waist.|Button fly."
        "|Press-stud and zip fly.",
        "Unlined.|Inner shorts in mesh.|The cotton content is organic."
        "|Made partly from recycled polyester.",
        ("Length {} cm.", 22, 58, 1),
    ),
    "Skirts": _vocabulary(
        "Pencil|Straight|Simple|A-line|Pleated|Tiered|Short|Wrapover",
        "woven fabric|crêpe|satin|jersey|imitation leather|a wool blend|cotton twill|chiffon"
        "|corduroy|tulle",
        "a high waist|an elasticated waist|a wide waistband|smocking at the top|a yoke at the top"
        "|a narrow waistband",
        "side pockets|a wrapover front|buttons at the front|a tie belt|a slit at the front"
        "|a flounce at the hem",
        "a flared skirt|pleats all round|a gently rounded hem|a raw-edge hem|gathered tiers"
        "|an asymmetric hem|a back vent",
        "Concealed zip at the back.|Zip in the side.|Buttons down the front."
        "|Concealed hook-and-eye fastener.|Zip fly and button.",
        "Lined.|Unlined.|Jersey lining.|Made from recycled polyester.",
        ("Length {} cm.", 24, 92, 1),
    ),
    "Dresses": _vocabulary(
        "Fitted|Straight-cut|Easy-fit|Short|Airy|Calf-length|Bodycon|Off-the-shoulder",
        "crinkled viscose|jersey|chiffon|cotton poplin|satin|a linen blend|crêpe|ribbed jersey"
        "|tulle|cotton voile|georgette|velour",
        "a V-neck|a round neckline|a square neckline|a wrapover front|a collar"
        "|a sweetheart neckline|a small stand-up collar|a halterneck|a low-cut back",
        "short puff sleeves|long balloon sleeves|narrow shoulder straps|flutter sleeves|long sleeves"
        "|wide shoulder straps with a frill|short sleeves|gathered shoulders|lace sleeves",
        "a flared skirt|a detachable tie belt|a seam at the waist|a tiered skirt|an elasticated seam"
        "|a slit at the hem|smocking at the waist|side pockets|a flounce at the hem|gathers in one side",
        "Concealed zip at the back.|Buttons down the front.|Opening with a button at the neck."
        "|Zip in the side.|Ties at the back.|Lacing at the back.",
        "Lined.|Unlined.|Jersey lining.|Lined skirt.|Partly lined.|Made from recycled polyester.",
        ("Length {} cm.", 48, 136, 1),
    ),
    "Jumpsuits": _vocabulary(
        "Tailored|Straight-cut|Relaxed-fit|Utility|Airy|Softly gathered|Short|Sleeveless",
        "woven viscose|washed cotton|cotton twill|crêpe|soft jersey|a linen blend"
        "|corduroy|satin|sweatshirt fabric",
        "a V-neck|a collar|adjustable shoulder straps|a wrapover front|a round neckline"
        "|a bib with a pocket|a square neckline",
        "short sleeves|long sleeves|wide shoulder straps|flounced sleeves|press-studs at the shoulders"
        "|roll-up sleeves",
        "wide legs|tapered legs|an elasticated seam at the waist|side pockets|a tie belt|ankle cuffs"
        "|press-studs along the legs|turn-ups",
        "Buttons down the front.|Concealed zip at the back.|Zip down the front."
        "|Press-studs down the front and along the legs.|Opening at the back of the neck.",
        "Unlined.|Lined at the top.|The cotton content is organic.|Made from recycled polyester.",
        ("Inside leg {} cm.", 10, 78, 1),
    ),
    "Sets": _vocabulary(
        "Classic|Simple|Comfortable|Easy-moving|Sweet|Soft|Playful|Printed",
        "soft organic cotton jersey|sweatshirt fabric|woven cotton|fine-knit cotton|cotton poplin"
        "|velour|airy cotton|soft fleece",
        "a long-sleeved top|a T-shirt|a shirt with a bow tie|a sweatshirt|a blouse with a frill"
        "|a hooded jacket|a bodysuit",
        "trousers with an elasticated waist|leggings|shorts with a drawstring|a skirt with gathers"
        "|joggers|dungarees|ribbed trousers",
        "a matching hat|ribbed cuffs|a motif at the front|press-studs on one shoulder"
        "|fold-over cuffs|a matching hairband|a chest pocket",
        "Press-studs at the neck.|Buttons on one shoulder.|Zip down the front.|Ties at the waist.",
        "The cotton content is organic.|Soft brushed inside.|Machine wash warm.",
        ("Length of the top {} cm.", 26, 64, 1),
    ),
    "Costumes": _vocabulary(
        "Classic|Easy|Comfortable|Ready-to-play|Glittering|Fairy-tale|Spooky|Brave",
        "woven fabric|glittery tulle|soft velour|satin|jersey|soft pile",
        "a hood with ears|a sequined top|a printed front|a stand-up collar|padded muscles",
        "long sleeves|a detachable cape|wings at the back|tulle sleeves|a mask|stuffed horns",
        "a skirt in tulle|a tail|a matching hairband|elasticated cuffs|glow-in-the-dark details",
        "Hook and loop fastening at the back.|Zip at the front.|Buttons at the neck.",
        "Unlined.|Lined skirt.|Made from recycled polyester.",
        ("For heights up to {} cm.", 80, 140, 6),
    ),
    "Lingerie": _vocabulary(
        "Classic|Smooth|Medium-impact|Non-wired|Soft|Balconette|Push-up|Plunge",
        "lace|microfibre|mesh|cotton jersey|satin|recycled lace|ribbed jersey|functional fabric"
        "|a modal blend",
        "lightly padded cups|moulded cups|unlined cups|underwires|a racer back|removable inserts"
        "|cups that lift|soft triangular cups",
        "adjustable shoulder straps|narrow double straps|wide shoulder straps|crossover straps"
        "|detachable straps|a lined front",
        "a lace trim|a wide hem|a small bow at the front|laser-cut edges|side support"
        "|a scalloped edge|a keyhole at the back|a mesh back",
        "Hook-and-eye fastener at the back.|Front fastener.|Pull-on model without fastening."
        "|Adjustable hook-and-eye fastener.|Press-studs at the gusset.",
        "Made from recycled polyamide.|Lined in soft mesh.|The cotton content is organic."
        "|Moisture-wicking finish.",
        ("Strap width {} cm.", 0.5, 4.5, 0.5),
    ),
    "Underwear": _vocabulary(
        "Classic|Simple|Sporty|Seamless|Soft|Lace|Low-cut|Printed",
        "cotton jersey|microfibre|lace|stretch cotton|a modal blend|mesh|organic cotton jersey"
        "|ribbed jersey|merino wool|fast-drying mesh",
        "a high waist|a low waist|a mid waist|an elasticated waist|a wide waistband"
        "|a covered waistband|cutaway sides|a jacquard waistband",
        "a lined gusset|a lace back|medium coverage at the back|full coverage at the back"
        "|a string back|a supportive front|a flat front",
        "lace edges|a small bow|laser-cut edges|flatlock seams|picot edges"
        "|covered elastic at the legs|a lace trim|contrasting seams",
        "Ties at the sides.|Tag-free at the waist.|Two pairs.|Three pairs.",
        "The cotton content is organic.|Made from recycled polyamide.|Quick-drying finish."
        "|Sold in a pack.|Stretch that keeps its shape.",
        ("Rise {} cm.", 14, 32, 0.5),
    ),
    "Nightwear": _vocabulary(
        "Classic|Straight-cut|Comfortable|Loose-fit|Soft|Delicate|Oversized|Printed",
        "soft jersey|satin|cotton flannel|waffled cotton|velour|organic cotton jersey|viscose"
        "|soft fleece|terry|cotton poplin",
        "a notch collar|a round neckline|a V-neck|a lace-trimmed neckline|a hood|a shawl collar"
        "|a grandad collar",
        "short sleeves|long sleeves|narrow adjustable straps|ribbed cuffs|raglan sleeves"
        "|dropped shoulders|a chest pocket",
        "an elasticated waist|bottoms with a drawstring|piping in a contrasting colour|side pockets"
        "|ribbed hems|tapered legs|a tie belt|a motif at the front|shorts with turn-ups",
        "Buttons down the front.|Zip down the front.|Press-studs down the front."
        "|Loops and a tie belt at the waist.|Buttons at the neck.",
        "The cotton content is organic.|Soft brushed inside.|Made from recycled polyester.|Unlined.",
        ("Length {} cm.", 40, 120, 1),
    ),
    "Sleep": _vocabulary(
        "Classic|Simple|Lightweight|Padded|Soft|Quilted|Printed|Warm",
        "organic cotton jersey|soft pile|cotton poplin|fleece|woven fabric",
        "a round neckline|a hood|press-studs at the shoulders|an envelope neckline",
        "a zip along the side|long sleeves|fold-over cuffs|a chin guard",
        "a wide base|a slit for the harness|a motif at the front|ribbed edges",
        "Two-way zip.|Press-studs at the shoulders.|Zip down the front.",
        "Lined in jersey.|The cotton content is organic.|Filling of recycled polyester.",
        ("Length {} cm.", 60, 110, 5),
    ),
    "Socks": _vocabulary(
        "Classic|Fine-knit|Sports|Trainer|Soft|Ankle|Patterned|Chunky",
        "a soft cotton blend|rib-knit cotton|a wool blend|functional fabric|a mohair blend"
        "|terry|fine cotton|a bamboo viscose blend|a glittery knit",
        "an elasticated top|a ribbed shaft|a frill at the top|a rolled edge|a folded cuff"
        "|a comfort top",
        "reinforced toes|a reinforced heel|cushioned soles|flat toe seams|non-slip soles"
        "|silicone at the heel",
        "a jacquard-knit motif|contrasting toes|ventilating sections|stripes at the top"
        "|arch support|a small embroidery|decorative seams",
        "Five pairs.|Three pairs.|One pair.|Seven pairs.|Ten pairs.|Two pairs.",
        "The cotton content is organic.|Made partly from recycled polyester."
        "|Moisture-wicking finish.|Sold in a gift bag.",
        ("Shaft height {} cm.", 1, 32, 0.5),
    ),
    "Tights": _vocabulary(
        "Classic|Matt|Opaque|Thermal|Fine-knit|Shimmering|Fishnet|Patterned",
        "fine stretch yarn|microfibre|a cotton blend|a wool blend|recycled polyamide|soft rib knit",
        "an elasticated waist|a wide waistband|a shaping top|a comfort waist|a lace top",
        "a gusset|flat seams|a cotton gusset|a reinforced top|a seam at the back",
        "reinforced toes|invisible toes|a ladder-resistant knit|footless legs|a dotted pattern",
        "One pair.|Two pairs.|Three pairs.|Five pairs.",
        "Made from recycled yarn.|Soft brushed inside.|Moisture-wicking finish.",
        ("{} denier.", 8, 200, 4),
    ),
    "Swimwear": _vocabulary(
        "Classic|Fully lined|Fast-drying|Sporty|Soft|Frilled|High-leg|Cut-out",
        "fast-drying fabric|ribbed stretch fabric|recycled polyester|crinkled fabric|a shiny weave"
        "|textured stretch fabric|crochet-look fabric|woven fabric",
        "lightly padded cups|a low-cut back|a mid waist|a high waist|a V-neck|removable inserts"
        "|a bandeau top|an elasticated drawstring waist|underwires",
        "narrow shoulder straps|ties at the sides|a tie at the back|adjustable straps|frilled trims"
        "|a wide hem|cutaway sides|a racer back",
        "medium coverage at the back|side pockets|a gathered front|decorative ties|a mesh inset"
        "|full coverage at the back|low-cut legs|UPF 50 sun protection|a wrapover front",
        "Adjustable metal fastener at the back.|Zip at the front.|Ties at the back of the neck."
        "|Hook fastening at the back.|Pull-on model.",
        "Fully lined.|Lined front.|Partly lined.|Made from recycled polyester.|Mesh inner briefs.",
        ("Side height {} cm.", 2, 40, 0.5),
    ),
    "Jewellery": _vocabulary(
        "Classic|Simple|Sporty|Short|Delicate|Sparkling|Large|Chunky",
        "metal|plated metal|metal and glass|metal and plastic|recycled metal|metal and resin"
        "|braided cord|imitation pearls",
        "rhinestones|small charms|a pendant|hammered details|faceted beads|a twisted design"
        "|hearts and stars|shell details|imitation pearls of different sizes|an engraved surface",
        "an open design|a chunky chain|fine links|dangling tassels|a lacquered surface"
        "|a polished finish|double rows",
        "a matt finish|enamelled details|rounded edges|a coin|a leaf motif|a knot|glitter"
        "|different shapes in one set",
        "Lobster clasp.|Adjustable length.|Hook fastening.|Clip fastening.|Push-back fastening."
        "|Elasticated.",
        "Nickel-tested.|Sold as a set.|Several pieces in a pack.|Metal content is recycled.",
        ("Width {} cm.", 0.2, 6, 0.1),
    ),
    "Bags": _vocabulary(
        "Classic|Small|Roomy|Sporty|Soft|Quilted|Large|Statement",
        "imitation leather|imitation suede|cotton canvas|nylon|straw|woven fabric|recycled polyester"
        "|grained imitation leather|jute|velvet",
        "a detachable shoulder strap|two handles at the top|a chain strap|an adjustable shoulder strap"
        "|padded shoulder straps|a wrist loop",
        "one inner compartment|a zipped inner pocket|two inner compartments|a laptop compartment"
        "|an open outer pocket|card slots",
        "a flap|metal details|a drawstring|a tassel|protective feet|a quilted front|studs"
        "|a printed motif",
        "Zip at the top.|Magnetic fastener.|Flap with a press-stud.|Turn-lock fastener."
        "|Drawstring at the top.",
        "Lined.|Unlined.|Lined in recycled polyester.",
        ("Width {} cm.", 12, 52, 1),
    ),
    "Belts": _vocabulary(
        "Classic|Narrow|Braided|Elasticated|Soft|Slim|Wide|Studded",
        "imitation leather|leather|grained imitation leather|imitation suede|woven fabric|cord",
        "a metal buckle|a covered buckle|a double buckle|a rectangular buckle|a snap hook",
        "a loop|punched holes|stitched edges|an embossed pattern|eyelets",
        "rounded ends|decorative studs|a chain|a reversible design|a contrasting back",
        "Metal buckle.|Press-stud fastening.|D-rings at the front.|Ties at the front.",
        "Adjustable length.|Leather from approved tanneries.|Nickel-tested.",
        ("Width {} cm.", 1, 8, 0.5),
    ),
    "Scarves": _vocabulary(
        "Classic|Fine-knit|Functional|Tube|Airy|Soft|Large|Chunky",
        "a wool blend|woven fabric|a soft viscose|satin|fleece|rib knit|a cashmere blend"
        "|recycled polyester|cotton",
        "fringes|short fringes at the ends|a rolled edge|overlocked edges|pompoms",
        "a woven pattern|a brushed surface|a cable pattern|a printed motif|a fine rib",
        "a sewn-on label|straight ends|contrasting stripes|a loop to thread through|tassels",
        "Press-stud at the front.|Wraps twice round the neck.|Can be worn as a shawl.",
        "Made from recycled fibres.|Lined in fleece.|Soft brushed finish.",
        ("Size 70 x {} cm.", 70, 210, 5),
    ),
    "Gloves": _vocabulary(
        "Classic|Fine-knit|Running|Functional|Soft|Lined|Long|Chunky",
        "a wool blend|leather|fine-knit fabric|water-repellent fabric|softshell|fleece|rib knit"
        "|imitation suede",
        "ribbed cuffs|long cuffs|a strap at the wrist|elastication at the wrist|a fold-over top",
        "touchscreen-compatible fingertips|a non-slip palm|decorative seams|a reflective print",
        "a small bow|a pile edge|a woven label|contrasting fingers|a drawstring with a stopper",
        "Hook and loop fastening.|Press-stud at the wrist.|Zip at the side.",
        "Lined in fleece.|Unlined.|Lined in pile.|Contains recycled wool.",
        ("Length {} cm.", 12, 34, 0.5),
    ),
    "Hats": _vocabulary(
        "Classic|Fine-knit|Sports|Running|Soft|Fluffy|Slouchy|Chunky",
        "a wool blend|rib-knit cotton|soft jersey|a cable knit|a mohair blend|fleece"
        "|a cashmere blend|recycled acrylic|soft pile|a moss-stitched knit",
        "a turned-up hem|a ribbed edge|a folded edge|ears at the top|a wide hem|a double hem",
        "a pompom|flaps over the ears|a woven label|contrasting stripes|a fine rib"
        "|a brushed surface|a small bow",
        "an embroidered motif|ties under the chin|a printed motif|a gathered crown"
        "|a reflective detail|a seam at the back",
        "Ties under the chin.|Hook and loop fastening.|Press-stud under the chin.",
        "Lined in jersey.|Lined in fleece.|Unlined.|Contains recycled polyester.",
        ("Circumference {} cm.", 40, 60, 1),
    ),
    "Hair Accessories": _vocabulary(
        "Classic|Simple|Sporty|Elasticated|Satin|Sparkling|Large|Wide",
        "velvet|satin|plastic|metal|jersey|chiffon|imitation pearls and metal|cotton|tulle"
        "|recycled plastic",
        "a bow|a knot at the top|rhinestones|imitation pearls|flowers|a twisted front|a scarf to tie",
        "covered elastic|a padded band|a clip at the back|non-slip teeth|a spring fastener"
        "|a rounded shape",
        "glitter|a printed pattern|different colours|a matt finish|a shiny surface|hearts",
        "Pack of two.|Pack of five.|Pack of ten.|Single piece.|Pack of three.|Pack of eight.",
        "Elasticated.|Nickel-tested.|Made from recycled plastic.|Holds thick hair.",
        ("Width {} cm.", 0.5, 14, 0.5),
    ),
    "Sunglasses": _vocabulary(
        "Classic|Square|Sporty|Aviator|Round|Cat-eye|Large|Narrow",
        "plastic|metal|plastic and metal|recycled plastic|transparent plastic",
        "tinted lenses|mirrored lenses|gradient lenses|polarised lenses|UV-protective lenses",
        "straight sidepieces|narrow metal sidepieces|a double bridge|adjustable nose pads",
        "a tortoiseshell effect|metal details|a glossy finish|a matt finish|a fine chain",
        "Delivered with a case.|Hinges in metal.|Delivered with a cloth.",
        "UV 400 protection.|UV-protective lenses.|Frame of recycled plastic.",
        ("Width {} cm.", 11, 16, 0.1),
    ),
    "Small Accessories": _vocabulary(
        "Classic|Narrow|Compact|Sporty|Small|Slim|Patterned|Large",
        "imitation leather|woven fabric|satin|metal|recycled polyester|silk|grained imitation leather"
        "|silicone",
        "an adjustable strap|a loop at the back|several card slots|a metal buckle|an analogue display"
        "|a wrist strap",
        "a zip compartment|contrasting seams|a lined inside|a matt finish|a woven pattern"
        "|embossed details",
        "a printed motif|rounded edges|a ring at one side|metal details|pointed ends|a clear pocket",
        "Press-stud fastening.|Zip at the top.|Metal buckle.|Clip fastening.",
        "Lined.|Unlined.|Nickel-tested.|Made from recycled polyester.",
        ("Width {} cm.", 2, 30, 0.5),
    ),
    "Other Accessories": _vocabulary(
        "Classic|Simple|Practical|Sporty|Soft|Sweet|Fun|Large",
        "soft jersey|woven cotton|recycled polyester|soft pile|plastic|organic cotton|terry"
        "|imitation leather|silicone|rib knit",
        "a printed motif|an embroidered face|a wipeable surface|a soft edge|an adjustable strap"
        "|stripes all round",
        "a carrying loop|contrasting seams|a tie at the back|stuffed ears|a zip pocket"
        "|press-studs at the sides",
        "a rounded shape|a small tag|ribbed edges|a gift tag|a matching bag|reflective details",
        "Hook and loop fastening.|Press-stud at the neck.|Screw lid.|Drawstring at the top."
        "|Pack of two.|Pack of three.",
        "The cotton content is organic.|Filling of recycled polyester.|Machine wash.|CE marked.",
        ("Length {} cm.", 8, 60, 1),
    ),
    "Sneakers": _vocabulary(
        "Classic|Low|Lightweight|Running|Soft|Slip-on|Chunky|High",
        "imitation leather|cotton canvas|mesh|imitation suede|scuba|woven fabric|leather|fine knit",
        "lacing at the front|elastic laces|tabs with hook and loop fastening|a padded edge"
        "|elastic sections|glittery laces",
        "a padded tongue|a loop at the back|reflective details|metal eyelets|contrasting sections"
        "|perforated toes",
        "chunky soles|rubber soles|patterned soles|light-up soles|platform soles|thermoplastic soles"
        "|fluted soles",
        "Lacing at the front.|Zip at one side.|Hook and loop tabs.|Pull-on model.",
        "Jersey lining.|Mesh lining and insoles.|Canvas insoles.|Lining of recycled polyester.",
        ("Sole {} cm.", 1.5, 6, 0.1),
    ),
    "Boots": _vocabulary(
        "Classic|Ankle-high|Warm-lined|Waterproof|Slim|High-shaft|Chunky|Pointed",
        "imitation leather|leather|imitation suede|rubber|water-repellent fabric|suede"
        "|patent imitation leather",
        "elastic side gores|lacing at the front|a zip at the back|a high shaft|a padded shaft"
        "|a buckle at the side",
        "a loop at the back|pointed toes|rounded toes|square toes|a pile edge|decorative seams",
        "block heels|covered heels|chunky soles|fluted soles|slim heels|platform soles|rubber soles",
        "Zip in one side.|Lacing at the front.|Pull-on model.|Zip at the back.",
        "Lined in pile.|Satin lining.|Canvas lining.|Imitation leather insoles.|Jersey lining.",
        ("Heel {} cm.", 1, 11, 0.1),
    ),
    "Sandals": _vocabulary(
        "Classic|Simple|Sporty|Light|Strappy|Braided|Platform|High",
        "imitation leather|imitation suede|leather|braided straw|satin|recycled plastic|woven fabric"
        "|rubber",
        "an ankle strap|crossover straps|wide foot straps|a toe post|narrow straps|a heel strap",
        "an adjustable metal buckle|square toes|a bow|studs|braided details|elastic sections|shells",
        "block heels|cork soles|flat soles|wedge heels|jute-trimmed soles|fluted soles"
        "|shaped footbeds",
        "Metal buckle at the side.|Hook and loop tabs.|Pull-on model.|Ties around the ankle.",
        "Imitation suede insoles.|Leather insoles.|Canvas insoles.|Lining of recycled polyester.",
        ("Heel {} cm.", 0.5, 12, 0.1),
    ),
    "Shoes": _vocabulary(
        "Classic|Simple|Comfortable|Light|Soft|Pointed|Chunky|Slingback",
        "imitation leather|imitation suede|satin|leather|pile|velvet|woven fabric"
        "|patent imitation leather",
        "a bow|a metal buckle|an elastic strap|tassels|a heel strap|a decorative seam|a wide strap",
        "rounded toes|pointed toes|an almond-shaped toe|square toes|a padded edge|a loop at the back",
        "block heels|kitten heels|flat soles|rubber soles|stiletto heels|non-slip soles"
        "|covered heels",
        "Pull-on model.|Elastic strap over the foot.|Metal buckle at the side.|Lacing at the front.",
        "Satin lining.|Imitation leather insoles.|Fleece lining.|Canvas insoles.",
        ("Heel {} cm.", 0.5, 11, 0.1),
    ),
    "Beauty": _vocabulary(
        "Classic|Simple|Light|Fresh|Soft|Shimmering|Intense|Bright",
        "a light formula|a creamy formula|a vegan formula|a matt formula|a glossy formula",
        "a mild scent|a built-in brush|a sponge applicator|vitamin E|natural oils",
        "a smooth finish|a matt finish|a long-lasting colour|a shimmering finish",
        "a mirrored lid|a recyclable bottle|a handy size|a wooden handle|a cardboard case",
        "Not tested on animals.|For all skin types.|Shake before use.",
        "Bottle of recycled plastic.|Made in small batches.|Free from parabens.",
        ("Contents {} ml.", 4, 250, 2),
    ),
    "Home": _vocabulary(
        "Classic|Simple|Practical|Light|Soft|Woven|Bold|Large",
        "powder-coated metal|cotton canvas|a wool blend|mango wood|cotton terry|recycled plastic",
        "rounded edges|fringes at the ends|a removable top|a printed motif|a woven pattern",
        "a hanging loop|a matt finish|a concealed zip|a narrow edge|handles",
        "protective feet|a contrasting back|decorative seams|an even surface",
        "Concealed zip at one side.|Assembly needed.|Ready to use.",
        "Machine wash.|Wipe with a damp cloth.|The cotton content is organic.",
        ("Width {} cm.", 10, 130, 5),
    ),
    "Care": _vocabulary(
        "Classic|Simple|Practical|Handy|Mild|Fresh|Strong|Large",
        "recycled plastic|cotton mesh|cedar wood|a mild formula|metal|recycled cardboard",
        "a fresh scent|a drawstring|a rounded shape|a spray nozzle|a handy lid",
        "clear instructions|a small size|a hanging loop|a soft brush",
        "a refillable container|a sturdy case|several parts|a matt finish",
        "For all fabrics.|For leather and imitation leather.|For delicate garments.",
        "Makes clothes last longer.|Bottle of recycled plastic.|Reusable.",
        ("Weight {} g.", 20, 400, 10),
    ),
    "Other": _vocabulary(
        "Classic|Simple|Practical|Sporty|Soft|Sweet|Printed|Large",
        "cotton|woven fabric|jersey|recycled polyester|imitation leather|a cotton blend|metal",
        "a printed motif|an adjustable fit|contrasting seams|a rounded shape|a soft edge",
        "a woven label|a small pocket|decorative details|a loop|ribbed edges",
        "a matt finish|an elasticated edge|straight lines|a tie|metal details",
        "Zip at the top.|Press-stud fastening.|Ties at the front.|Pull-on model.",
        "Unlined.|Lined.|Made from recycled polyester.|The cotton content is organic.",
        ("Length {} cm.", 8, 100, 1),
    ),
}

# Menswear, children's wear and sport describe these lines in their own way.
PLAIN_VOCABULARIES = {
    "Swimwear bottom": _vocabulary(
        "Classic|Fully lined|Fast-drying|Sporty|Soft|Short|Printed|Bright",
        "fast-drying fabric|recycled polyester|crinkled fabric|woven fabric|nylon|stretch fabric",
        "an elasticated drawstring waist|a covered waistband|an elasticated waist"
        "|a contrasting waistband",
        "side pockets|a back pocket|flat seams|slits in the sides|a zipped pocket",
        "short legs|a contrasting trim|a printed motif|a back pocket with a flap|side stripes",
        "Hook and loop fly.|False fly.|Drawstring with metal ends.",
        "Mesh inner briefs.|Fully lined.|Made from recycled polyester.|Unlined.",
        ("Length {} cm.", 20, 52, 1),
    ),
    "Lingerie": _vocabulary(
        "Classic|Simple|Sporty|Functional|Soft|Comfortable|Seamless|Printed",
        "cotton jersey|organic cotton jersey|functional fabric|fast-drying fabric|ribbed jersey"
        "|stretch jersey|recycled polyester|microfibre",
        "a racer back|a crossover back|a soft inside|a double layer at the front|a round neckline"
        "|removable inserts",
        "wide shoulder straps|adjustable straps|elasticated edges|lined straps|covered elastic",
        "a wide hem|flat seams|mesh sections|a woven label|an elastic hem|a contrasting trim",
        "Pull-on model without fastening.|Adjustable straps.|Two in a pack.|Hook fastening.",
        "The cotton content is organic.|Moisture-wicking finish.|Made from recycled polyester.",
        ("Strap width {} cm.", 1, 5, 0.5),
    ),
    "Underwear": _vocabulary(
        "Classic|Simple|Sporty|Seamless|Soft|Fine-knit|Long|Printed",
        "cotton jersey|stretch cotton|a modal blend|organic cotton jersey|ribbed jersey"
        "|merino wool|fast-drying mesh|microfibre",
        "an elasticated waist|a wide waistband|a covered waistband|a jacquard waistband"
        "|a regular waist|a soft waistband",
        "a supportive front|a flat front|a lined front|a double layer at the front|side panels",
        "short legs|flatlock seams|long legs|covered elastic at the legs|contrasting seams"
        "|medium-length legs|a small motif",
        "Button fly.|False fly.|Tag-free at the waist.|Open fly.",
        "The cotton content is organic.|Sold in a pack.|Quick-drying finish."
        "|Stretch that keeps its shape.|Five in a pack.|Three in a pack.",
        ("Rise {} cm.", 14, 32, 0.5),
    ),
    "Swimwear": _vocabulary(
        "Classic|Fully lined|Fast-drying|Sporty|Soft|Frilled|Printed|Bright",
        "fast-drying fabric|ribbed stretch fabric|recycled polyester|crinkled fabric|woven fabric"
        "|stretch fabric|nylon",
        "an elasticated drawstring waist|a round neckline|long sleeves|a covered waistband"
        "|short sleeves|a chin guard",
        "side pockets|a frilled trim|wide shoulder straps|flat seams|a back pocket|raglan sleeves",
        "UPF 50 sun protection|a contrasting trim|a mesh inset|a printed motif|short legs"
        "|a back pocket with a flap",
        "Zip at the front.|Zip at the back.|Pull-on model.|Hook and loop fly.",
        "Fully lined.|Lined front.|Made from recycled polyester.|Mesh inner briefs.",
        ("Side height {} cm.", 6, 50, 0.5),
    ),
    "Dresses": _vocabulary(
        "Classic|Straight-cut|Easy-fit|Comfortable|Airy|Tulle|Glittering|Printed",
        "soft jersey|organic cotton jersey|woven cotton|cotton poplin|glittery tulle|corduroy"
        "|sweatshirt fabric|washed cotton|velour|fine-knit cotton",
        "a round neckline|a collar|a square neckline|a small frill at the neck|a bow at the front"
        "|a smocked top",
        "short sleeves|long sleeves|puff sleeves|wide shoulder straps with a frill|butterfly sleeves"
        "|long raglan sleeves|lace at the cuffs",
        "a flared skirt|a seam at the waist|a tiered skirt|side pockets|a gathered skirt"
        "|an elasticated seam|a motif at the front|a skirt in layers",
        "Concealed zip at the back.|Buttons down the back.|Opening with a button at the neck."
        "|Press-studs at the back.|Ties at the back.",
        "Lined.|Unlined.|Jersey lining.|Lined skirt.|The cotton content is organic.",
        ("Length {} cm.", 36, 98, 1),
    ),
    "Skirts": _vocabulary(
        "Classic|Straight|Simple|Easy|Pleated|Tiered|Glittering|Printed",
        "soft jersey|woven cotton|tulle|corduroy|cotton twill|glittery tulle|sweatshirt fabric"
        "|imitation leather|washed cotton",
        "an elasticated waist|an adjustable elasticated waist|a wide waistband|a drawstring waist",
        "side pockets|buttons at the front|a tie belt|a flounce at the hem|a bow|patch pockets",
        "a flared skirt|pleats all round|gathered tiers|a raw-edge hem|several layers"
        "|sewn-in shorts",
        "Zip in the side.|Buttons down the front.|Zip fly and button.",
        "Lined.|Unlined.|Jersey lining.|The cotton content is organic.",
        ("Length {} cm.", 18, 56, 1),
    ),
    "Tights": _vocabulary(
        "Classic|Simple|Opaque|Thermal|Fine-knit|Soft|Patterned|Glittering",
        "a cotton blend|fine-knit cotton|a wool blend|soft rib knit|organic cotton|microfibre",
        "an elasticated waist|a wide waistband|a covered waistband|a comfort waist",
        "a gusset|flat seams|a reinforced seat|a motif at the back",
        "reinforced toes|non-slip soles|footless legs|a dotted pattern|contrasting knees",
        "One pair.|Two pairs.|Three pairs.",
        "Soft brushed inside.|The cotton content is organic.|Made from recycled yarn.",
        ("{} denier.", 30, 200, 5),
    ),
    "Boots": _vocabulary(
        "Classic|Ankle-high|Warm-lined|Waterproof|Soft|High|Chunky|Printed",
        "imitation leather|leather|imitation suede|rubber|water-repellent fabric|suede",
        "elastic side gores|lacing at the front|a padded shaft|a buckle at the side|a high shaft"
        "|a drawstring at the top",
        "a loop at the back|rounded toes|a pile edge|decorative seams|reflective details",
        "chunky soles|fluted soles|rubber soles|low block heels|patterned soles",
        "Zip in one side.|Lacing at the front.|Pull-on model.|Hook and loop tabs.",
        "Lined in pile.|Canvas lining.|Fleece lining.|Jersey lining.|Waterproof to the seam.",
        ("Sole {} cm.", 1, 4.5, 0.1),
    ),
    "Sandals": _vocabulary(
        "Classic|Simple|Sporty|Light|Soft|Braided|Glittering|Printed",
        "imitation leather|imitation suede|leather|recycled plastic|woven fabric|rubber",
        "an ankle strap|crossover straps|wide foot straps|a toe post|a heel strap",
        "an adjustable buckle|a bow|elastic sections|rounded toes|a padded edge",
        "cork soles|flat soles|fluted soles|shaped footbeds|patterned soles",
        "Hook and loop tabs.|Metal buckle at the side.|Pull-on model.",
        "Imitation suede insoles.|Canvas insoles.|Lining of recycled polyester.",
        ("Sole {} cm.", 0.5, 4, 0.1),
    ),
    "Shoes": _vocabulary(
        "Classic|Simple|Comfortable|Light|Soft|Lined|Glittering|Chunky",
        "imitation leather|imitation suede|leather|pile|woven fabric|patent imitation leather"
        "|cotton canvas",
        "a bow|an elastic strap|tassels|lacing at the front|a decorative seam|a padded edge",
        "rounded toes|a loop at the back|elastic side gores|perforated toes|a padded tongue",
        "flat soles|rubber soles|non-slip soles|low heels|fluted soles",
        "Pull-on model.|Elastic strap over the foot.|Lacing at the front.|Hook and loop tab.",
        "Imitation leather insoles.|Fleece lining.|Canvas insoles.|Jersey lining.",
        ("Sole {} cm.", 0.5, 4, 0.1),
    ),
}

# Product types that the words of their line do not fit.
_THINGS = _vocabulary(
    "Classic|Simple|Practical|Handy|Small|Light|Bright|Large",
    "metal|recycled plastic|recycled cardboard|mango wood|powder-coated metal|varnished wood",
    "rounded edges|a matt finish|a glossy finish|straight lines|a smooth surface",
    "a printed motif|a fine texture|a contrasting edge|a small logo",
    "a sturdy base|a removable top|a woven label|an even surface",
    "Ready to use.|Sold singly.|Sold in a pack.",
    "Wipe with a damp cloth.|Made of recycled material.|Reusable.",
    ("Height {} cm.", 4, 50, 2),
)
_CAPS = _vocabulary(
    "Classic|Simple|Sports|Running|Soft|Washed|Trucker|Wide",
    "cotton twill|corduroy|denim|water-repellent fabric|canvas|fast-drying fabric|wool blend fabric",
    "an embroidered motif at the front|a curved peak|a printed motif|a straight peak|a mesh back",
    "embroidered eyelets|a sweatband|a button at the top|contrasting stitching",
    "an adjustable tab at the back|a woven label|an elastic at the back|ventilation holes",
    "Metal buckle at the back.|Hook and loop at the back.|Plastic fastener at the back.",
    "Lined at the front.|Unlined.|Contains recycled polyester.|The cotton content is organic.",
    ("Circumference {} cm.", 44, 60, 1),
)
_BRIMS = _vocabulary(
    "Classic|Simple|Packable|Light|Soft|Floppy|Wide|Large",
    "straw|paper straw|felted wool|cotton canvas|woven fabric|corduroy",
    "a wide brim|a narrow brim|a wavy brim|a stitched brim",
    "a grosgrain band|a braided cord|a scarf to tie|a decorative bow|a sweatband",
    "a pinched crown|a rounded crown|a frayed edge|a woven label|a chin cord",
    "Adjustable inside.|Ties under the chin.|Inner drawstring.",
    "Unlined.|Lined in cotton.|Can be folded.",
    ("Width of the brim {} cm.", 4, 16, 0.5),
)
KIND_VOCABULARIES = {
    **dict.fromkeys(
        ("Marker pen", "Giftbox", "Side table", "Keychain", "Zipper head", "Waterbottle"), _THINGS
    ),
    "Sarong": _vocabulary(
        "Classic|Simple|Lightweight|Loose-fit|Airy|Softly draped|Printed|Large",
        "woven cotton|crinkled viscose|airy chiffon|crêpe|a linen blend|mesh",
        "fringes at the hem|a rolled edge|a tie at one side|ties at the waist|narrow trims",
        "a wrapover front|a straight hem|a slit at the side|a rounded hem",
        "tassels at the corners|a printed border|overlocked edges|embroidered edges",
        "Ties at the waist.|Ties at the back of the neck.|Can be tied in several ways.",
        "Unlined.|Made from recycled polyester.|The cotton content is organic.",
        ("Size 100 x {} cm.", 120, 200, 5),
    ),
    **dict.fromkeys(
        ("Nipple covers", "Bra extender"),
        _vocabulary(
            "Classic|Simple|Reusable|Seamless|Soft|Thin|Discreet|Round",
            "silicone|satin|soft microfibre|cotton",
            "a smooth surface|thin edges|a lined inside|rounded edges",
            "a skin-friendly finish|a matt finish|laser-cut edges",
            "a storage case|a protective film|several positions",
            "One pair.|Two pairs.|Sold in a pack.",
            "Hand wash.|Can be used many times.",
            ("Width {} cm.", 3, 10, 0.5),
        ),
    ),
    "Swimwear bottom": _vocabulary(
        "Classic|Fully lined|Fast-drying|Sporty|Soft|Frilled|High-leg|Cut-out",
        "fast-drying fabric|ribbed stretch fabric|recycled polyester|crinkled fabric|a shiny weave"
        "|textured stretch fabric|crochet-look fabric",
        "a mid waist|a high waist|a low waist|a fold-over waist|a covered waistband",
        "ties at the sides|wide sides|cutaway sides|frilled trims|a small gathering at the back"
        "|narrow sides|metal rings at the sides",
        "medium coverage at the back|full coverage at the back|low coverage at the back"
        "|high-cut legs|scalloped edges",
        "Ties at the sides.|Pull-on model.|Adjustable drawstrings at the sides.",
        "Fully lined.|Lined front.|Partly lined.|Made from recycled polyester.",
        ("Side height {} cm.", 1, 16, 0.5),
    ),
    "Pyjama bottom": _vocabulary(
        "Classic|Straight-cut|Comfortable|Loose-fit|Soft|Wide|Tapered|Printed",
        "soft jersey|satin|cotton flannel|waffled cotton|organic cotton jersey|viscose|terry"
        "|cotton poplin|soft fleece",
        "an elasticated waist|a drawstring waist|a wide waistband|a covered elasticated waist",
        "side pockets|piping along the sides|a back pocket|a false fly|contrasting seams",
        "ribbed hems|tapered legs|wide legs|lace edges|turn-ups|straight legs",
        "Buttons at the fly.|Drawstring at the waist.",
        "The cotton content is organic.|Soft brushed inside.|Made from recycled polyester.",
        ("Inside leg {} cm.", 8, 78, 1),
    ),
    "Vest top": _vocabulary(
        "Fitted|Straight-cut|Relaxed-fit|Sporty|Softly draped|Slim-fit|Oversized|Cropped",
        "soft jersey|organic cotton jersey|ribbed jersey|a viscose jersey|stretch jersey"
        "|a modal blend|airy cotton jersey|slub jersey",
        "a round neckline|a V-neck|a square neckline|a scooped neckline|a wide neckline"
        "|a lace edge at the neck",
        "narrow shoulder straps|wide shoulder straps|a racer back|adjustable shoulder straps"
        "|straps that cross at the back|deep armholes",
        "a straight-cut hem|a rounded hem|slits in the sides|a rolled edge|overlocked edges"
        "|a chest pocket|a slightly longer back",
        "Ties at the shoulders.|Adjustable metal fasteners on the straps.|Buttons at the front.",
        "Made partly from recycled polyester.|The cotton content is organic.|Lined at the front.",
        ("Length {} cm.", 34, 72, 1),
    ),
    "Cap/peaked": _CAPS,
    "Cap": _CAPS,
    "Hat/brim": _BRIMS,
    "Felt hat": _BRIMS,
    "Straw hat": _BRIMS,
    "Bucket hat": _BRIMS,
    "Tie": _vocabulary(
        "Classic|Narrow|Knitted|Simple|Satin|Woven|Patterned|Wide",
        "silk|satin|a wool blend|woven fabric|recycled polyester|cotton",
        "a loop at the back|a pointed end|a straight end|a ready-tied bow",
        "a woven pattern|a fine texture|contrasting seams|a printed pattern",
        "a lining in the same colour|a small label|a matching handkerchief",
        "Clip fastening.|Adjustable at the neck.",
        "Lined.|Unlined.|Dry clean only.",
        ("Width {} cm.", 4, 9, 0.5),
    ),
    "Watch": _vocabulary(
        "Classic|Simple|Digital|Sporty|Small|Slim|Square|Large",
        "metal|plated metal|metal and imitation leather|silicone and plastic",
        "an analogue display|a round face|a square face|a digital display",
        "an adjustable strap|a linked strap|a mesh strap|a strap with a buckle",
        "a date display|luminous hands|engraved details|rhinestones around the face",
        "Metal buckle.|Folding clasp.",
        "Splash-proof.|Battery included.|Nickel-tested.",
        ("Diameter {} cm.", 2, 4.8, 0.1),
    ),
    "Umbrella": _vocabulary(
        "Classic|Foldable|Windproof|Compact|Small|Light|Transparent|Large",
        "recycled polyester|woven fabric|water-repellent nylon|plastic",
        "a curved handle|a straight handle|a wrist strap|a wooden handle",
        "a metal frame|reinforced ribs|a matching case|rounded tips",
        "a printed edge|an even surface|reflective details",
        "Opens at the press of a button.|Hook and loop strap.",
        "Delivered with a case.|Made from recycled polyester.",
        ("Diameter {} cm.", 70, 112, 2),
    ),
}

_SPORT_TOP = _vocabulary(
    "Fitted|Straight-cut|Fast-drying|Running|Lightweight|Slim-fit|Loose-fit|Cropped",
    "fast-drying functional fabric|recycled functional fabric|ribbed functional fabric|soft mesh"
    "|brushed functional fabric|seamless functional fabric|windproof fabric|sweatshirt fabric",
    "a round neckline|a stand-up collar|a racer back|a hood with a drawstring|a V-neck|a low back",
    "long raglan sleeves|short sleeves|thumbholes at the cuffs|elasticated cuffs|mesh sections"
    "|laser-cut ventilation",
    "reflective details|flat seams|a rounded hem|a concealed pocket|slits in the sides"
    "|a printed logo|a drawstring at the hem|a slightly longer back",
    "Zip at the top with a chin guard.|Zip down the front with a chin guard.|Pull-on model."
    "|Two-way zip.",
    "The polyester content is recycled.|Moisture-wicking finish.|Soft brushed inside.|Unlined.",
    ("Length {} cm.", 38, 76, 1),
)
_SPORT_BOTTOM = _vocabulary(
    "Fitted|Straight-cut|Fast-drying|Running|Lightweight|Slim-fit|Loose-fit|Shaping",
    "fast-drying functional fabric|recycled functional fabric|ribbed functional fabric"
    "|stretch functional fabric|brushed functional fabric|windproof fabric|sweatshirt fabric",
    "a wide waistband|an elasticated waist|a high waist|a drawstring waist|a concealed key pocket",
    "side pockets|zipped side pockets|mesh sections|a back pocket with a zip|side stripes"
    "|laser-cut ventilation",
    "reflective details|flat seams|tapered legs|zips at the hems|a gusset|inner shorts"
    "|ribbed hems|slits in the sides",
    "Zip at the ankle.|Drawstring inside the waistband.|Concealed waistband pocket.|Pull-on model.",
    "The polyester content is recycled.|Moisture-wicking finish.|Soft brushed inside.|Unlined.",
    ("Inside leg {} cm.", 8, 78, 1),
)
SPORT_VOCABULARIES = {
    **dict.fromkeys(("Jersey Basic", "Jersey Fancy", "Knitwear", "Outdoor"), _SPORT_TOP),
    **dict.fromkeys(("Trousers", "Leggings", "Shorts", "Skirts"), _SPORT_BOTTOM),
}

# Fabrics of patterns that are fabrics.
PATTERN_FABRICS = {
    "Denim": VOCABULARIES["Denim"].fabrics,
    "Lace": _phrases("lace|stretch lace|floral lace|lace and mesh|recycled lace|corded lace"),
}

# What a product type is called in names and descriptions, where that is not its own name.
NOUNS = {
    kind: _phrases(nouns)
    for kind, nouns in {
        "T-shirt": "T-shirt|tee|jersey tee|pocket tee",
        "Vest top": "vest top|strap top|tank top|singlet|vest",
        "Top": "top|jersey top|party top|tie top|day top|tunic",
        "Sweater": "sweater|jumper|knit|knitted jumper|pullover",
        "Cardigan": "cardigan|cardi|knitted jacket",
        "Hoodie": "hoodie|hooded top|zip hood|hooded sweatshirt",
        "Blouse": "blouse|smock blouse|tie blouse|kaftan|tunic",
        "Shirt": "shirt|overshirt|resort shirt|utility shirt",
        "Jacket": "jacket|bomber|parka|padded jacket|biker|windbreaker|anorak|shacket",
        "Coat": "coat|car coat|trenchcoat|padded coat",
        "Blazer": "blazer|suit jacket",
        "Outdoor Waistcoat": "padded gilet|waistcoat|gilet",
        "Tailored Waistcoat": "suit waistcoat|waistcoat",
        "Bodysuit": "bodysuit|body",
        "Trousers": "trousers|slacks|chinos|joggers|cargo trousers|pull-on trousers|culottes|pants",
        "Denim": "jeans|jeggings|denim trousers",
        "Leggings/Tights": "leggings|treggings",
        "Shorts": "shorts|bermudas|chino shorts|city shorts",
        "Skirt": "skirt|day skirt|party skirt",
        "Dress": "dress|day dress|party dress|summer dress|tunic dress|kaftan dress",
        "Jumpsuit/Playsuit": "jumpsuit|playsuit|romper",
        "Garment Set": "set|matching set|outfit",
        "Dungarees": "dungarees|dungaree shorts",
        "Costumes": "fancy dress costume|costume|cape",
        "Bra": "bra|bralette|soft bra|T-shirt bra|everyday bra",
        "Underwear bottom": "briefs|hipsters|Brazilian briefs|hip briefs|tanga briefs",
        "Underwear body": "lace body|body",
        "Kids Underwear top": "vest|undervest|crop top",
        "Socks": "socks|trainer socks|ankle socks|shaftless socks|sports socks",
        "Underwear Tights": "tights|pantyhose|stay-ups",
        "Bikini top": "bikini top|beach top|swim top",
        "Swimwear bottom": "bikini bottoms|tie briefs|bikini briefs|swim briefs",
        "Swimsuit": "swimsuit|wet suit|sun top suit",
        "Swimwear set": "bikini|swim set|UV set",
        "Swimwear top": "swim top|UV top",
        "Pyjama set": "pyjamas|PJ set|pyjamas",
        "Pyjama jumpsuit/playsuit": "pyjamas|sleepsuit|all-in-one pyjamas",
        "Pyjama bottom": "pyjama bottoms|PJ trousers|pyjama shorts",
        "Night gown": "nightslip|nightdress|sleep shirt",
        "Robe": "dressing gown|robe|kimono",
        "Hat/beanie": "hat|beanie|knitted hat",
        "Cap/peaked": "cap|baseball cap",
        "Hat/brim": "hat|sun hat|brim hat",
        "Bag": "bag|shopper|shoulder bag|handbag|backpack|clutch bag",
        "Earring": "earrings|hoops|studs|earring set",
        "Necklace": "necklace|pendant necklace|multi necklace|choker",
        "Ring": "rings|ring set|signet ring",
        "Bracelet": "bracelet|bracelets|bangle",
        "Other accessories": "accessory|accessory set|mittens and hat|collar|key ring|phone case",
        "Scarf": "scarf|blanket scarf|tube scarf|triangle scarf",
        "Hair/alice band": "alice band|hairband|headband",
        "Hair clip": "hair clips|hair clip|hair slides|claw",
        "Other Hair clip": "hair clip",
        "Hair string": "scrunchies|hair elastics|scrunchie",
        "Sneakers": "trainers|sneakers|hi-tops",
        "Boots": "boots|ankle boots|Chelsea boots|winter boots|wellingtons",
        "Sandals": "sandals|slides|espadrilles|mules",
        "Other shoe": "shoes|soft shoes|clogs",
        "Ballerinas": "ballet pumps|ballerinas",
        "Pumps": "court shoes|pumps",
        "Flat shoe": "loafers|derby shoes|brogues",
        "Soft Toys": "toy animal|cuddly toy",
        "Chem. cosmetics": "perfume oil",
        "Fine cosmetics": "nail polish|lip balm|eyeshadow",
        "Unknown": "article",
    }.items()
}

# The same in sport.
SPORT_NOUNS = {
    kind: _phrases(nouns)
    for kind, nouns in {
        "T-shirt": "sports T-shirt|training tee|running top",
        "Vest top": "sports vest top|training vest|sports tank top",
        "Top": "sports top|running top|yoga top",
        "Sweater": "sports top|training sweatshirt|midlayer",
        "Hoodie": "training hoodie|hooded sports jacket",
        "Jacket": "running jacket|training jacket|windbreaker|ski jacket",
        "Outdoor Waistcoat": "running gilet",
        "Outdoor trousers": "ski trousers",
        "Trousers": "track pants|sports joggers|training trousers",
        "Leggings/Tights": "sports tights|running tights|yoga leggings",
        "Shorts": "running shorts|sports shorts|cycling shorts",
        "Skirt": "sports skirt|tennis skirt",
        "Bra": "sports bra|running bra|yoga bra",
        "Bag": "sports bag|gym bag|yoga bag",
    }.items()
}

# The same in menswear and children's wear.
PLAIN_NOUNS = {
    kind: _phrases(nouns)
    for kind, nouns in {
        "Underwear bottom": "boxer shorts|briefs|trunks|boxers",
        "Swimwear bottom": "swim shorts|swim trunks|swim bottoms",
        "Bra": "sports top|crop top|soft top",
        "Bikini top": "bikini top|swim top",
        "Swimsuit": "swimsuit|sun suit",
        "Sandals": "sandals|slides",
        "Boots": "boots|Chelsea boots|winter boots|wellingtons",
        "Ballerinas": "ballet pumps",
        "Bag": "bag|backpack|shopper|sports bag",
        "Vest top": "vest top|tank top|vest",
        "Top": "top|jersey top|tunic",
        "Blouse": "blouse|tunic",
        "Bodysuit": "bodysuit|wrap bodysuit",
        "Skirt": "skirt|skort",
        "Dress": "dress|tunic|party dress|summer dress",
        "Night gown": "nightdress|sleep shirt",
        "Underwear Tights": "tights",
        "Robe": "dressing gown|robe",
        "Other accessories": "accessory|accessory set|mittens|hat and gloves",
    }.items()
}

# What a pattern adds to a description. Prints are named after the noun.
PATTERN_WORDS = {
    "All over pattern": "patterned",
    "Melange": "melange",
    "Stripe": "striped",
    "Check": "checked",
    "Dot": "dotted",
    "Colour blocking": "block-coloured",
    "Embroidery": "embroidered",
    "Application/3D": "decorated",
    "Glittering/Metallic": "glittery",
    "Metallic": "metallic",
    "Sequin": "sequined",
    "Jacquard": "jacquard",
    "Front print": "printed",
    "Placement print": "printed",
    "Argyle": "argyle",
    "Mesh": "mesh",
    "Transparent": "sheer",
    "Hologram": "holographic",
    "Slub": "slub",
    "Neps": "nepped",
}

SUFFIXES = (
    *("", " (1)", " SP", " W", " (2)", " J", " CC", " TP", " 2", " DS", " SL", " LS", " OC"),
    *(" (3)", " TVP", " PL", " PQ", " EQ", " CN", " BB", " SB", " VN", " RR"),
)
BOTTOM_SUFFIXES = (
    *("", " RW", " HW", " (1)", " SP", " MW", " LW", " (2)", " SHW", " TRS", " 2", " CC", " OC"),
    *(" RW (1)", " HW (1)", " (3)", " PQ", " EQ", " TP", " SKW", " RR", " W"),
)
"""What sets apart products of one name: the first has none, as a rule."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GIVEN = _words(
    "Luna Tilda Charlie Simba Maja Elsa Nova Freya Greta Alma Iris Stella Ebba Tyra Vega Saga Wilma "
    "Ellen Klara Selma Juni Lova Hedda Liv Signe Edith Astrid Ester Majken Perry Ringo Sirpa Mimmi "
    "Scarlett Jade Gyda Rosie Olivia Perrie Tilly Ada Agnes Alba Alice Alva Amanda Amelie Anja Anton "
    "Arthur Audrey Axel Bea Bella Betty Bianca Billie Bonnie Britney Bruno Camilla Carla Celine Chloe "
    "Clara Cleo Cora Daisy Dana Daniela Daphne Debbie Diana Dolly Dora Doris Edda Eddie Eira Elena "
    "Elin Elliot Elvira Emma Emmy Erica Esme Eva Evelyn Faith Fanny Felicia Fia Filippa Fiona Flora "
    "Frances Frida Gina Gloria Gwen Hanna Harper Harry Hazel Heidi Helga Henry Hilda Holly Hugo Ida "
    "Ines Ingrid Isa Isla Ivy Jack Jane Jasmine Jenny Jess Jill Joan Jolie Josie Judith Julia June "
    "Kaisa Karin Kate Kelly Kim Kira Lana Laura Leah Lena Leo Leona Lia Lily Linn Lisa Lola Lottie "
    "Louise Lovisa Lucas Lucy Lydia Mabel Malin Marge Maria Marlene Martha Mary Matilda Maud Maxine "
    "Meg Mia Mila Millie Mindy Mira Moa Molly Mona Monica Nadia Nancy Naomi Natalie Nellie Nelly "
    "Nico Nina Noel Nora Norma Odette Olga Oscar Otto Pam Patsy Paula Peggy Penny Petra Pia Piper "
    "Polly Poppy Queenie Ramona Rebecca Rita Robin Rocky Ronja Rosa Roxy Ruby Ruth Sally Sandy Sara "
    "Selena Sia Sigrid Siri Sky Sofia Sonja Stina Sunny Susie Svea Sylvie Tara Tess Thea Tina Tove "
    "Trudy Tuva Ulla Una Ursula Vera Vicky Viola Vivi Wanda Wendy Wille Yasmin Ylva Yoko Zara Zelda "
    "Zoe"
)
_PLACES = _words(
    "Rio Paris Milano Havana Oslo Bali Dakar Kyoto Lisbon Malmo Vienna Aspen Athens Berlin Bergen "
    "Bilbao Boston Bristol Brooklyn Cairo Calais Cannes Capri Chelsea Chicago Como Cuba Dallas Delhi "
    "Dover Dublin Faro Florida Galway Genova Ghent Goa Hamburg Harlem Hawaii Helsinki Ibiza Jaipur "
    "Java Kenya Kingston Kiruna Lima London Lyon Madrid Malaga Malibu Memphis Miami Monaco Montreal "
    "Nairobi Napoli Nevada Nice Orlando Palermo Peru Porto Prague Riga Roma Salem Samos Seattle "
    "Sevilla Siena Sydney Tahiti Texas Tokyo Toledo Torino Tulum Umea Valencia Verona Visby York Zadar"
)
_OBJECTS = _words(
    "Box Despacito Cat Pluto Heaven Dragonfly Primo Zebra Timeless Alpine Amber Apple Arrow Atlas "
    "Aurora Avocado Bamboo Basic Beach Berry Birdie Blossom Boogie Breeze Bubble Butter Cactus Candy "
    "Cherry Cider Cinnamon Citrus Cloud Coco Comet Coral Cosmo Cosy Crush Daybreak Delta Diamond "
    "Disco Dove Dream Drizzle Echo Ember Falcon Feather Fern Fiesta Flame Flirt Fizz Fudge Galaxy "
    "Ginger Glow Grape Gravity Harmony Heather Honey Indigo Island Ivory Jazz Jungle Karma Kiwi "
    "Lagoon Lemon Lotus Love Lucky Magnolia Mango Maple Marble Meadow Melody Mint Misty Mojito Moon "
    "Moss Neon Nutmeg Oasis Ocean Olive Opal Orbit Orchid Panda Papaya Peach Pearl Pebble Pepper "
    "Phoenix Pine Pixel Plum Polar Pollen Prairie Prism Quartz Rainbow Raven Reef Ripple River Robot "
    "Rocket Saffron Salsa Samba Shadow Sienna Sierra Silk Solar Spark Spice Storm Sugar Sunset Swift "
    "Tango Thunder Tiger Topaz Toffee Tulip Twist Vanilla Velvet Vibe Violet Volt Wave Willow Winter "
    "Wonder Yoga Zen Zephyr"
)
_STEMS = _words(
    "Al An Ar Bel Bri Cal Car Cel Cor Dal Del Dor El Em Fal Fel Flor Gal Gir Hel Il Is Jal Jan Jor "
    "Kal Kar Kel Lar Lem Lin Lor Mal Mar Mel Mir Mon Nal Nar Nel Or Pal Per Pim Ral Rin Rom Sal Sel "
    "Sim Sol Tal Tam Tor Val Ver Vil Wil Yar Zal"
)
_ENDINGS = _words(
    "a ana anne by de ea ella elle en esse ette i ia ika ina ine is ix o ona os otta y"
)
FIRST_NAMES = tuple(
    dict.fromkeys(
        [*_GIVEN, *_PLACES, *_OBJECTS, *(stem + end for end in _ENDINGS for stem in _STEMS)]
    )
)
"""What a product may be called, the usual ones first."""
