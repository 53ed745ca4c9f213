"""Images made in memory, for tests and measurements."""

from io import BytesIO

from PIL import Image


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return `image` as a file in a format that Pillow writes, such as "JPEG"; `options` are those of `Image.save`."""
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def gradient(width: int = 64, height: int = 48, mode: str = "RGB") -> Image.Image:
    """Return a smooth gradient from black at the top to white at the bottom."""
    return Image.linear_gradient("L").resize((width, height)).convert(mode)
