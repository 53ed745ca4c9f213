"""Limits on one request, with the reason for each number."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds on an image and on the art made from it, all checked before any pixel is
    decoded."""

    max_image_bytes: int = 10_000_000
    """Maximum bytes of an uploaded image. Phone photographs have 2 to 8 MB."""

    max_image_pixels: int = 50_000_000
    """Maximum pixels of an image of any format. The largest common camera sensors have 45 to 50
    megapixels."""

    max_image_side: int = 65_535
    """Maximum pixels of an image in width, and in height. JPEG and GIF allow no more."""

    max_conversion_bytes: int = 190_000_000
    """Maximum bytes of memory for one conversion at its peak, estimated from the image's header and
    the options (see `conversion.memory`).

    The default keeps a process, with its interpreter, below 300 MB. Formats that need more than 3.5
    bytes per pixel have a lower pixel limit because of it: a 12-megapixel WebP photograph, the most
    expensive common image, just fits.
    """

    max_width: int = 1000
    """Maximum columns of art. The default is ten times the width of a wide terminal."""

    max_art_characters: int = 1_500_000
    """Maximum characters of art, counted as rows times columns times the weight of a cell
    (`ConversionOptions.cell_weight`).

    The default allows more than a person can view at once: 1000 columns of a portrait photograph,
    or, in the most expensive terminal colours, 240 columns, the maximum of the page's slider. A
    screen of 8 megapixels shows 115,000 characters.
    """

    max_cells_per_pixel: int = 16
    """Maximum cells of art for each pixel of the image, unless the art has at most 60,000 cells.

    The default is four in each direction: larger art shows nothing more, and a file of 200 bytes
    would become a million characters. An image of 250x250 pixels may be drawn at any size, and an
    icon at the maximum of the page's slider, 240 columns.
    """
