"""Exact numbers: from the digits of JSON, never through a binary float, and back to decimal text.

An exponent is taken where the result is exact (some JSON writers print 0.00001 as 1e-05); NaN, infinities, a leading
`+` or zero, and blanks are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from raftbook.engine.types import MAX_DECIMALS, MAX_INTEGER, Number

MAX_NUMBER_CHARACTERS: Final = 64

_NUMBER_PATTERN: Final = re.compile(rb'("?)(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?\1')


def shown(text: str) -> str:
    """What a client sent, short enough for a message."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}… ({len(text)} characters)"


@lru_cache(maxsize=65_536)
def parse_number(text: bytes, lowest: int) -> Number | str:
    """An exact number from the digits of a JSON number or string, or what is wrong with it; `lowest` is 1 or 0.

    Cached: the same prices and sizes come again and again. So give it no more than MAX_NUMBER_CHARACTERS.
    """
    match = _NUMBER_PATTERN.fullmatch(text)
    if match is None:
        # What msgspec passes over as Raw it does not look at, so a string's bytes may be no UTF-8.
        return f"{shown(text.decode(errors='replace'))} is no decimal number"
    _, sign, whole, fraction, exponent = match.groups()
    decimals = len(fraction) if fraction else 0
    mantissa = int(whole + fraction) if fraction else int(whole)
    if exponent:
        decimals -= int(exponent)
    if decimals < 0:
        mantissa *= 10**-decimals
        decimals = 0
    if sign or mantissa < lowest:
        return f"{text.decode()} is {'below' if lowest == 0 else 'not above'} zero"
    if decimals > MAX_DECIMALS:
        return f"{text.decode()} has more than {MAX_DECIMALS} decimals"
    if mantissa > MAX_INTEGER:
        return f"{text.decode()} has more digits than a signed 64-bit integer holds"
    return Number(mantissa, decimals)


def number_text(number: Number) -> str:
    """A number with as many decimals as it was written with."""
    return decimal_text(number.mantissa, number.decimals)


@lru_cache(maxsize=65_536)
def decimal_text(units: int, decimals: int) -> str:
    """`units` of 10**-`decimals` as a decimal string with exactly that many decimals. Cached: they come again."""
    if decimals == 0:
        return str(units)
    digits = str(units)
    if len(digits) > decimals:
        return f"{digits[:-decimals]}.{digits[-decimals:]}"
    return f"0.{digits:0>{decimals}}"
