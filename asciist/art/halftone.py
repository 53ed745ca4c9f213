"""Thresholds that turn brightness into dots: blue noise, in integers, the same on every machine."""

from typing import Final

from PIL import Image

_SIDE: Final = 16
_RANKS: Final = bytes.fromhex(
    "109fdc39965b87690ce0701bda0af62c"
    "e8851a75f802c0d73ab492cb5f3b9755"
    "6e43b5c64ca8277e53fc2948e9a97bc8"
    "ac28ec622f8ee7b2119d77038a1df10e"
    "de9308a1d2195c42cc63dbb0c46b4d36"
    "5d794afd826ff49421ef3c562ed399b9"
    "16d5bf1e3db705c17ca21886ed0783f5"
    "aa3265a58d52dd334bd868bda4612544"
    "91df01cde6139a73b109ff2b46e2ce6d"
    "fa4f8137725ef91fcf5a98780f8cb30d"
    "2ac59ef223adc34188e435c7f0573876"
    "951c58b845900666a71751af24a0d9bc"
    "eb6ad10b7feed42df780d66c84146447"
    "ab3189e134549b7449bb003efbc2e304"
    "7dfe15a671b612c9228bea9c50268f3f"
    "ba4e60ca20e540f3a35930be7aae67d0"
)
"""The order, 0 to 255, in which the dots of a 16x16 tile are lit as it becomes brighter; printed by
tools/threshold-map."""


def thresholds(width: int, height: int, *, spread: int) -> Image.Image:
    """Return (width x height) thresholds around the middle of 0 to 255, mode L: a sample above its
    threshold becomes a lit dot.

    `spread`, 0 to 250, is the width of their range. A wider range distinguishes more levels of
    brightness by their share of dots.
    """
    levels = bytes(128 + ((2 * rank - 255) * spread >> 9) for rank in _RANKS)
    rows = [
        (levels[start : start + _SIDE] * (-(-width // _SIDE)))[:width]
        for start in range(0, _SIDE * _SIDE, _SIDE)
    ]
    whole, rest = divmod(height, _SIDE)
    return Image.frombytes("L", (width, height), b"".join(rows) * whole + b"".join(rows[:rest]))
