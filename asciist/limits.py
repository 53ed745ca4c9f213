"""What one request may ask for, with the reason for each number."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds on an image and on the art made from it; every one is checked before a pixel is decoded."""

    max_image_bytes: int = 10_000_000
    """An upload. Phone photographs are 2 to 8 MB."""

    max_image_pixels: int = 50_000_000
    """An image of any format. The largest common camera sensors have 45 to 50 megapixels."""

    max_decode_bytes: int = 190_000_000
    """Peak memory of one decode, estimated from the header. With the interpreter it keeps a process below 300 MB, and it is
    what lowers the pixel limit of formats that cost more than 3.8 bytes a pixel (see `conversion.inspection`); a WebP
    photograph of 12 megapixels, the costliest that is common, just fits."""

    max_width: int = 1000
    """Columns of art. Ten times a wide terminal; text beyond that is an image again."""

    max_art_characters: int = 10_000_000
    """Rows times columns. Only tall, thin images come near: a 1x3000 strip at width 80 is 9.6 million characters."""
