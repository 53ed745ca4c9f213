"""The options `brightness` and `contrast`, as a table of levels.

They are curves, not factors: every style stretches the contrast of the image itself, which would
undo a linear change. The curves are Schlick's bias and gain (Graphics Gems IV, 1994, pp. 401-403),
which are ratios of whole numbers here, and therefore exact.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_WHITE: Final = 255
_STEEPNESS: Final = 125
"""Steepness of the curves: Schlick's parameter is 1/2 + amount / (2 * _STEEPNESS), 0.9 for an
amount of 100."""


@lru_cache(maxsize=64)
def adjustment(*, brightness: int, contrast: int) -> Sequence[int] | None:
    """Return the adjusted level for each level, 0 to 255; None if nothing changes. Both amounts are
    -100 to 100.

    Black and white never change, and contrast does not change the middle.
    """
    if not (brightness or contrast):
        return None
    return [_bias(_gain(level, contrast), _WHITE, brightness) for level in range(_WHITE + 1)]


def _bias(level: int, white: int, amount: int) -> int:
    """Brighten a level, 0 to `white`; darken it if `amount` is negative."""
    # t / ((1 / a - 2) * (1 - t) + 1) with t = level / white, all multiplied by white * (_STEEPNESS
    # + amount)
    numerator = white * level * (_STEEPNESS + amount)
    denominator = white * (_STEEPNESS + amount) - 2 * amount * (white - level)
    return (2 * numerator + denominator) // (2 * denominator)


def _gain(level: int, amount: int) -> int:
    """Move a level away from the middle; towards it if `amount` is negative."""
    # The darker half is a bias by the opposite amount, and the lighter half is its mirror image.
    if 2 * level < _WHITE:
        return _bias(2 * level, _WHITE, -amount) // 2
    return _WHITE - _bias(2 * (_WHITE - level), _WHITE, -amount) // 2
