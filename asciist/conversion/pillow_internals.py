"""All uses of Pillow's undocumented parts.

Tried with the Pillow releases from OLDEST_TRIED to NEWEST_TRIED. Run tests/conversion before moving
either bound. With Pillow 12.0.0 and 12.3.0 these parts work too, but 7 of the 224 goldens differ,
all in the style `blocks`.

- The plugins for GIF, PNG and WebP composite the frames of an animation, and the one for AVIF
  decodes them, if these are sought and loaded in order.
- Plugin classes (`PIL.PngImagePlugin.PngImageFile` and others) are called directly, not through
  `Image.open`. The signature has already determined the format, so only that plugin is imported,
  which shortens a cold start, and no other decoder is tried.
- `Image.MAX_IMAGE_PIXELS` is cleared: Pillow checks it before our limits apply.
- `WebPImageFile._open` and `._get_next` are overridden to free the metadata, and libwebp's decoder
  (`._decoder`) after the first frame.
- `AvifImageFile._decoder` is replaced to free libavif's decoder after the first frame.
  `AvifImagePlugin.DEFAULT_MAX_THREADS` is set to one thread.
- libtiff's error handler is removed, through the shared library of Pillow's core.
- `ImageFile.fp` and `.decodermaxblock` are replaced to decode other data than the file whose header
  was read.
- `Image.im.mode` is the mode of the decoded pixels, which may differ from the mode that the plugin
  announced.
"""

import importlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any, Final

from PIL import Image
from PIL.ImageFile import ImageFile

from asciist.formats import ImageFormat

OLDEST_TRIED: Final = (13, 0, 0)
NEWEST_TRIED: Final = (13, 0, 0)
"""Bounds, both inclusive, of the Pillow releases that pass tests/conversion."""

# Pillow's limit (89 megapixels, as a warning) is looser than ours and would be checked first.
Image.MAX_IMAGE_PIXELS = None


def open_as(image_format: ImageFormat, file: bytes) -> ImageFile:
    """Read the header of `file` with the plugin of a format, for its first frame alone. Raises
    whatever the plugin raises."""
    adapted = _FIRST_FRAMES.get(image_format.plugin)
    return (_plugin(image_format) if adapted is None else adapted())(BytesIO(file))


def open_animation(image_format: ImageFormat, file: bytes) -> ImageFile:
    """Open an animation with the plugin of its format, which composites its frames. Raises whatever
    the plugin raises."""
    adapted = _ANIMATIONS.get(image_format.plugin)
    return (_plugin(image_format) if adapted is None else adapted())(BytesIO(file))


def _plugin(image_format: ImageFormat) -> type[ImageFile]:
    name = image_format.plugin
    plugin: type[ImageFile] = getattr(
        importlib.import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile"
    )
    return plugin


@cache
def _animated_gif() -> type[ImageFile]:
    """Return Pillow's GIF plugin, modified to composite all frames but the first in RGB even if the
    first one is grey.

    Pillow does so only if the first frame has colours. A grey canvas and a frame with a palette of
    its own would get two modes.
    """
    # Only the plugin in use is imported.
    from PIL.GifImagePlugin import GifImageFile  # noqa: PLC0415

    class AnimatedGifFile(GifImageFile):
        def _seek(self, frame: int, update_image: bool = True) -> None:
            if frame == 1 and update_image and self.mode == "L":
                if self.dispose:
                    self.im.paste(self.dispose, self.dispose_extent)
                    self.dispose = None
                transparency = self.info.pop("transparency", None)
                self._mode = "RGB" if transparency is None else "RGBA"
                self.im = (
                    self.im.convert("RGB")
                    if transparency is None
                    else self.im.convert_transparent("RGBA", transparency)
                )
            super()._seek(frame, update_image)

    return AnimatedGifFile


@cache
def _one_frame_webp() -> type[ImageFile]:
    """Return Pillow's WebP plugin, modified to release libwebp's decoder after the first frame, and
    the copies of the metadata at once.

    The decoder holds two canvases of four bytes per pixel, which Pillow keeps for the next frame.
    """
    # Only the plugin in use is imported.
    from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415

    class OneFrameWebPFile(WebPImageFile):
        def _open(self) -> None:
            super()._open()
            self.info.clear()

        def _get_next(self) -> tuple[bytes, int, int]:
            frame = super()._get_next()
            self._decoder = None
            return frame

    return OneFrameWebPFile


@cache
def _one_frame_avif() -> type[ImageFile]:
    """Pillow's AVIF plugin with one thread, releasing libavif's decoder after the first frame.

    The decoder holds the samples of the frame, up to eight bytes per pixel.
    """
    # Only the plugin in use is imported.
    from PIL.AvifImagePlugin import AvifImageFile  # noqa: PLC0415

    _animated_avif()  # sets the number of threads

    class OneFrameAvifFile(AvifImageFile):
        def _open(self) -> None:
            super()._open()
            self._decoder = _OneFrameDecoder(self._decoder)

    return OneFrameAvifFile


@cache
def _animated_avif() -> type[ImageFile]:
    """Pillow's AVIF plugin with one thread. Another thread would add its own buffers and stack."""
    from PIL import AvifImagePlugin  # noqa: PLC0415 - only the plugin in use is imported

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return AvifImagePlugin.AvifImageFile


@cache
def _silent_tiff() -> type[ImageFile]:
    """Pillow's TIFF plugin, with which libtiff writes no errors to the standard error stream: a
    damaged fax may have one in each of 65,535 rows."""
    import ctypes  # noqa: PLC0415 - needed for TIFFs only

    from PIL import TiffImagePlugin, _imaging  # noqa: PLC0415 - as above

    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
    return TiffImagePlugin.TiffImageFile


class _OneFrameDecoder:
    """The decoder of an AVIF, released after decoding a frame."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder

    def get_frame(self, number: int) -> tuple[bytes, int, int, int]:
        frame: tuple[bytes, int, int, int] = self._decoder.get_frame(number)
        self._decoder = None
        return frame


_FIRST_FRAMES: Final[dict[str, Callable[[], type[ImageFile]]]] = {
    "WebP": _one_frame_webp,
    "Avif": _one_frame_avif,
    "Tiff": _silent_tiff,
}
_ANIMATIONS: Final[dict[str, Callable[[], type[ImageFile]]]] = {
    "Gif": _animated_gif,
    "Avif": _animated_avif,
}
"""Plugins that are adapted, for the first frame alone and for all of them."""


def replace_data(source: ImageFile, file: bytes) -> None:
    """Make `source` decode `file` instead of the file from which it was opened. Reading it at once
    avoids a copy."""
    source.fp, source.decodermaxblock = BytesIO(file), len(file)


def decoded_mode(source: ImageFile) -> str:
    """Return the mode of the decoded pixels of a loaded image."""
    mode: str = source.im.mode
    return mode
