"""How loops are compiled."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numba
from numba.core import cgutils
from numba.extending import intrinsic

F = TypeVar("F")
A = TypeVar("A")


def compiled(function: F) -> F:
    """Compile on first use, cached on disk, without the interpreter lock."""
    return cast(F, numba.njit(cache=True, nogil=True)(cast(Any, function)))


def _borrow(typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        made.meminfo = cgutils.get_null_value(made.meminfo.type)
        return made._getvalue()

    return array(array), generate


borrowed: Any = intrinsic(_borrow)
"""Within a compiled loop: the same array, whose references are not counted.

Numba counts an array's references with two atomic instructions wherever it is given on to a
function that it cannot show to keep no reference, as one with a loop and several exits. On a loop
that calls such functions several times a row that was half of the time. Whoever called holds the
array until the loop has ended; a borrowed one must not be returned or kept.
"""
