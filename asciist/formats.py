"""The image formats that are converted: one row for each.

A new format takes a row here, a parser in `asciist/conversion/containers/` and its hostile files in
`tools/testing/hostile/`, both in a module named after the row's `key`. Whatever lists formats is
derived from `FORMATS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_FRAMES: Final = 300
"""Maximum frames of an animation, from the first: 30 seconds at ten frames a second."""


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """A format: its signature, its decoder, its limits, and the memory that a conversion takes."""

    name: str
    """The name in messages and documents."""
    media_type: str
    signature: bytes
    """Regular expression that matches the first bytes of a file."""
    plugin: str
    """Name of Pillow's plugin; see `conversion.pillow_internals`."""
    unsupported: str = ""
    """Error message for a variant of the format that is not supported."""
    unreadable_frames: str = ""
    """Error message for an animation whose frames cannot be read, though its still image may be
    intact; by default, that for a damaged image."""
    max_side: int = 65_535
    """Maximum pixels in width, and in height, that the decoder accepts."""
    max_frames: int = 1
    """Maximum frames that `animate` draws; 1 if images of the format do not move."""
    is_scaled: bool = False
    """True if the decoder can reduce the image to 1/2, 1/4 or 1/8 of its size."""
    bytes_per_column: int = 16
    """Memory of the decoder for each column; by default, a row and the one before it, of eight
    bytes per pixel."""
    bytes_per_pixel: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Memory of the decoder for each pixel, beside the decoded image, by Pillow's mode; 0 in all
    other modes. What depends on the file is in `Container.decoder_bytes`."""
    frame_bytes_per_pixel: int = 20
    """Memory of compositing a frame of an animation: the canvas before it, what is restored after
    it, and copies of its part."""

    @property
    def key(self) -> str:
        """The name of the format's modules, and the value of the metrics' tag `format`."""
        return self.name.lower()

    @property
    def is_animated(self) -> bool:
        """True if images of the format may move."""
        return self.max_frames > 1


FORMATS: Final = (
    ImageFormat(
        name="JPEG",
        media_type="image/jpeg",
        signature=rb"\xff\xd8\xff",
        plugin="Jpeg",
        unsupported="JPEGs with arithmetic, lossless or hierarchical coding are not supported: save"
        " the image as a baseline or progressive JPEG",
        is_scaled=True,
        # libjpeg's buffers for a row of blocks: at most four components of ten times four rows
        # each, and the output row.
        bytes_per_column=200,
    ),
    ImageFormat(
        name="PNG",
        media_type="image/png",
        signature=rb"\x89PNG\r\n\x1a\n",
        plugin="Png",
        max_frames=MAX_FRAMES,
    ),
    ImageFormat(
        name="GIF",
        media_type="image/gif",
        signature=rb"GIF8[79]a",
        plugin="Gif",
        max_frames=MAX_FRAMES,
    ),
    ImageFormat(
        name="WebP",
        media_type="image/webp",
        signature=rb"RIFF.{4}WEBP",
        plugin="WebP",
        max_frames=MAX_FRAMES,
        # libwebp holds two canvases while Pillow copies one of them; with alpha, a plane for it
        # too.
        bytes_per_pixel={"RGB": 8, "RGBA": 9},
    ),
    ImageFormat(
        name="AVIF",
        media_type="image/avif",
        # The brand (ISO/IEC 14496-12 section 4.3) is first or among the compatible ones.
        signature=rb"\0\0.{2}ftyp(?:.{4}){0,30}?avi[fs]",
        plugin="Avif",
        unsupported="this kind of AVIF is not supported: save the image again as an AVIF, or as"
        " PNG",
        unreadable_frames="the frames of this animated AVIF cannot be read: convert it to an"
        " animated GIF, or send it without animate to see its still image",
        max_side=32_768,
        max_frames=MAX_FRAMES,
        # libavif writes the pixels, Pillow copies them twice and frees libavif's samples before it
        # makes the image. dav1d takes 0.6 bytes for the state of its filters; alpha is another
        # image.
        bytes_per_pixel={"L": 1.6, "RGB": 2.6, "RGBA": 5.2},
        frame_bytes_per_pixel=4,
    ),
    ImageFormat(
        name="TIFF",
        media_type="image/tiff",
        # `CR` marks the raw data of a camera.
        signature=rb"II[*+]\0(?!.{4}CR)|MM\0[*+]",
        plugin="Tiff",
        unsupported="this kind of TIFF is not supported: save it as RGB with 8 bits per channel,"
        " and with LZW, ZIP or no compression",
        bytes_per_column=200,  # libjpeg's, as above
    ),
    ImageFormat(name="BMP", media_type="image/bmp", signature=rb"BM", plugin="Bmp"),
)

JPEG, PNG, GIF, WEBP, AVIF, TIFF, BMP = FORMATS
MEDIA_TYPES: Final = {row.name: row.media_type for row in FORMATS}
LISTED: Final = " or ".join(", ".join(MEDIA_TYPES).rsplit(", ", 1))
"""The names of the formats, as part of a sentence."""
