"""Art in the form that the option `color` asks for."""

from asciist import conversion
from asciist.art import Art, forms
from asciist.limits import Limits
from asciist.options import ConversionOptions


def convert(image: bytes, options: ConversionOptions, limits: Limits | None = None) -> str:
    """Convert an image and return its art as text."""
    return text_of(conversion.convert(image, options, limits or Limits()), options.color)


def text_of(art: Art, color: str) -> str:
    """Return the first frame as text."""
    return forms.text(art, forms.of_colour(color))
