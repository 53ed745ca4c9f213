"""The art of one image, and what --json prints of it."""

from typing import TYPE_CHECKING, Any

from asciist.limits import Limits
from asciist.options import ConversionOptions

if TYPE_CHECKING:
    from asciist.art import Art
    from asciist.client import Animation


def drawn(image: bytes, options: ConversionOptions) -> "Art":
    """Return the art of an image. Raises AsciistError."""
    from asciist import conversion

    if options.animate:
        from asciist.conversion import animating

        if opened := animating.open_animation(image, options, Limits()):
            return animating.draw(opened)
    return conversion.convert(image, options, Limits())


def fields_of(art: "Art", options: ConversionOptions) -> dict[str, Any]:
    """Return what --json prints of art."""
    from asciist.art import forms

    form = forms.of_colour(options.color)
    fields: dict[str, Any] = {"width": options.width, "invert": art.is_light}
    if art.movement is not None:
        fields |= vars(art.movement)
    if art.movement is None or form.moves:
        return fields | {"art": forms.text(art, form)}
    return fields | {
        "frames": [
            {"art": text, "milliseconds": milliseconds}
            for text, milliseconds in forms.texts(art, form)
        ]
    }


def movement_of(animation: "Animation") -> dict[str, Any]:
    """Return the fields of an animation from the service."""
    return {
        "plays": animation.plays,
        "shown_frames": animation.shown_frames,
        "image_frames": animation.image_frames,
        "frames": [
            {"art": frame.text, "milliseconds": frame.milliseconds} for frame in animation.frames
        ],
    }
