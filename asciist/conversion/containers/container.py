"""The result of stripping an image file."""

from dataclasses import dataclass

from asciist.conversion.containers import jpeg_scans
from asciist.conversion.containers.jpeg_scans import JpegScans
from asciist.formats import ImageFormat


@dataclass(frozen=True, kw_only=True)
class Container:
    """An image file without the parts that cannot change its pixels, and what its header says."""

    format: ImageFormat
    size: tuple[int, int]
    """(width, height) in pixels, before the orientation is applied; of an animation, those of its
    canvas."""
    body: bytes
    """A file of that format. For a JPEG, only the part before the first scan."""
    scans: JpegScans | None = None
    """The rest of a JPEG, from its first scan; None for other formats."""
    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 if absent or unreadable."""
    decoder_bytes: int = 0
    """Memory of the decoder that only the file tells: the coefficients of a JPEG, a strip or tile
    of a TIFF, the samples of an AVIF."""
    large_tile: tuple[int, int] | None = None
    """(width, height) of the tiles of a TIFF, in pixels, if they are larger than the image."""
    lacks_pixels: bool = False
    """True if the file is too short for the pixels in its header, or the first frame of an
    animation covers less than 1/16 of a large canvas. Checked after the limits, so that an image
    over them is refused as too large."""

    @property
    def file_bytes(self) -> int:
        """Bytes of the file."""
        return len(self.body) + (0 if self.scans is None else len(self.scans.data))

    @property
    def head(self) -> bytes:
        """The start of the file, long enough for a decoder to read the image header."""
        return (
            self.body
            if self.scans is None
            else self.body + self.scans.data[: jpeg_scans.MAX_HEADER_BYTES]
        )

    def reduced_jpeg(self, *, reduction: int, in_colour: bool) -> bytes:
        """Return the JPEG with only the scans that matter when decoding at 1/`reduction` (1, 2, 4
        or 8) of its size.

        Unless `in_colour`, scans with only chroma are left out too. Raises DamagedImageError, or
        ValueError for another format.
        """
        if self.scans is None:
            raise ValueError(f"a {self.format.name} has no scans")
        return b"".join(
            [self.body, *jpeg_scans.select(self.scans, reduction=reduction, in_colour=in_colour)]
        )
