"""The image formats that are converted."""

from typing import Final

MEDIA_TYPES: Final = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WebP": "image/webp",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
}
"""Media type of each format, by the name that messages and documents use."""

LISTED: Final = " or ".join(", ".join(MEDIA_TYPES).rsplit(", ", 1))
"""The names of the formats, as part of a sentence."""
