"""The result of stripping an image file."""

from dataclasses import dataclass

from asciist.conversion.containers.jpeg_scans import MAX_SCAN_HEADER_BYTES, JpegScans


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image file without the parts that cannot change its pixels."""

    format: str
    """JPEG, PNG, GIF, WEBP or BMP."""
    body: bytes
    """A valid file of that format. For a JPEG, the part before the first scan."""
    scans: JpegScans | None = None
    """The rest of a JPEG; `jpeg.jpeg_for_decoding` selects from it."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 if absent or unreadable."""
    canvas: tuple[int, int] = (0, 0)
    """(width, height) in pixels that Pillow allocates on opening the file; (0, 0) for formats where it allocates nothing."""
    lacks_pixels: bool = False
    """True if the file is too short for the pixels in its header, or the first frame of an animation covers less than 1/16 of a
    large canvas. Checked after the pixel limits, so that an image over them is refused as too large."""

    @property
    def head(self) -> bytes:
        """The start of the file, long enough for a decoder to read the image header."""
        return self.body if self.scans is None else self.body + self.scans.data[:MAX_SCAN_HEADER_BYTES]
