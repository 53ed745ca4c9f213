"""Conversions in the calling process."""

import time
from collections.abc import Callable

from asciist import conversion
from asciist.art.codec import encode
from asciist.errors import RejectedError
from asciist.limits import Limits
from asciist.options import AUTO, ConversionOptions
from asciist.protocol.capacity import Capacity
from asciist.protocol.ports import Conversion


class InProcessConverter:
    """Converter that runs in the caller's thread.

    Threads can use every core, because decoding and scaling release the interpreter lock.
    """

    def __init__(
        self, limits: Limits, *, on_estimate: Callable[[int], None] = lambda _memory_bytes: None
    ) -> None:
        """`on_estimate` receives the estimated memory of each conversion, in bytes, before decoding
        starts."""
        self._limits = limits
        self._on_estimate = on_estimate
        # Shared by all threads of the process: two large images are decoded one after the other,
        # not at the same time.
        self._memory = Capacity(limits.max_conversion_bytes)

    def convert(
        self, image: bytes, options: ConversionOptions, *, wait_seconds: float
    ) -> Conversion:
        image_format, pixels, decode_ms = "", 0, None
        try:
            if options.animate and (
                animation := self._animation(image, options, wait_seconds=wait_seconds)
            ):
                return animation
            opened = conversion.open_image(image, options, self._limits)
            image_format, pixels = opened.header.format.key, opened.header.pixels
            with self._memory.reserve(opened.memory_bytes, wait_seconds=wait_seconds):
                self._on_estimate(opened.memory_bytes)
                started = time.perf_counter()
                try:
                    decoded = conversion.decode(opened)
                finally:
                    decode_ms = _milliseconds_since(started)
                started = time.perf_counter()
                resolved = conversion.resolve(decoded, options)
                art = encode(conversion.render(decoded, resolved))
        except RejectedError as error:
            return Conversion(
                rejection=error.public_message,
                format=image_format,
                pixels=pixels,
                decode_ms=decode_ms,
            )
        return Conversion(
            art=art,
            invert=resolved.invert is True if options.invert == AUTO else None,
            format=image_format,
            pixels=pixels,
            decode_ms=decode_ms,
            render_ms=_milliseconds_since(started),
        )

    def _animation(
        self, image: bytes, options: ConversionOptions, *, wait_seconds: float
    ) -> Conversion | None:
        """Convert an animation; None for a still image. Its frames are decoded and drawn in turn,
        so only their total time is measured."""
        # Imports numpy, which not every style needs.
        from asciist.conversion import animating  # noqa: PLC0415

        opened = animating.open_animation(image, options, self._limits)
        if opened is None:
            return None
        with self._memory.reserve(opened.memory_bytes, wait_seconds=wait_seconds):
            self._on_estimate(opened.memory_bytes)
            started = time.perf_counter()
            drawn = animating.draw(opened)
        return Conversion(
            art=encode(drawn),
            invert=drawn.is_light if options.invert == AUTO else None,
            format=opened.header.format.key,
            pixels=opened.pixels,
            render_ms=_milliseconds_since(started),
        )

    def close(self) -> None:
        """Do nothing: the threads belong to the caller."""


def _milliseconds_since(started: float) -> float:
    return 1000 * (time.perf_counter() - started)
