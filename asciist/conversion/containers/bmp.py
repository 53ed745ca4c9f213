"""BMP files have no metadata to strip."""

from asciist.conversion.containers.container import Container


def unpack(image: bytes) -> Container:
    """Return a BMP unchanged."""
    return Container(format="BMP", body=image)
