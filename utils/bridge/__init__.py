"""One expression, two more lives: `to_torch` compiles it to tensors, `to_vega` to the browser.

A chapter derives an expression in SymPy. Here the same object becomes a differentiable function of
tensors (to be compared with the implementation) and a Vega expression (to drive a widget). Both walk
the expression tree: what cannot be translated exactly is refused with an error that names it.
"""

from utils.bridge.tensors import to_torch
from utils.bridge.vega import to_vega

__all__ = ["to_torch", "to_vega"]
