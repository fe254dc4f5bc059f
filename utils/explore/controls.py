"""The controls of a widget, each as an HTML input for the page and as an ipywidget for a kernel."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import sympy as sp

__all__ = ["Choice", "Slider"]

_STEPS = 100


def _digits(value: float, count: int) -> str:
    """`value` to `count` significant digits, as the page's script writes it: 1000, not 1e+03."""
    return f"{float(f'{value:.{count}g}'):.12g}"


def _with_unit(text: str, unit: str) -> str:
    return text if unit in ("", "1") else f"{text} {unit}"


def _nice(step: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return float(f"{max(m for m in (1, 2, 5) if m * power <= step * (1 + 1e-9)) * power:.12g}")


@dataclass(frozen=True)
class Slider:
    """A continuous control for one symbol of a widget's expressions.

    Args:
        symbol: the symbol that it sets.
        lo, hi: its range; `value`: where it starts.
        step: the smallest move of a slider that is not logarithmic; by default about a hundredth of the range.
        label: what the reader sees; by default the symbol (Greek letters drawn).
        unit: "nats", "s", ...; "1" for a pure number.
        log: move evenly in the logarithm; needs lo > 0.

    Raises:
        ValueError: an empty range, a start outside it, a logarithmic range that holds 0.

    >>> Slider(sp.Symbol("tau"), 0.1, 10, 1, label="temperature", log=True).text()
    '1'
    """

    symbol: sp.Symbol
    lo: float
    hi: float
    value: float
    step: float | None = None
    label: str = ""
    unit: str = "1"
    log: bool = False

    def __post_init__(self):
        if not isinstance(self.symbol, sp.Symbol):
            raise ValueError(f"Slider expects a symbol, received {self.symbol!r}")
        numbers = {name: float(getattr(self, name)) for name in ("lo", "hi", "value")}
        for name, x in numbers.items():
            object.__setattr__(self, name, x)
        if not self.lo < self.hi or not self.lo <= self.value <= self.hi:
            raise ValueError(f"Slider {self.symbol}: expected lo < hi, value between; received {numbers}")
        if self.log and self.lo <= 0:
            raise ValueError(f"Slider {self.symbol}: a logarithmic range needs lo > 0, received {self.lo}")
        if self.step is not None and not 0 < self.step <= self.hi - self.lo:
            raise ValueError(f"Slider {self.symbol}: expected 0 < step <= hi - lo, received {self.step}")
        if not self.label:
            object.__setattr__(self, "label", sp.pretty(self.symbol, use_unicode=True))

    def text(self, value: float | None = None) -> str:
        """Return a value as the reader sees it, with its unit."""
        return _with_unit(_digits(self.value if value is None else value, 3 if self.log else 4), self.unit)

    def _track(self) -> tuple[float, float, float, float]:
        """Return where the knob moves: lowest and highest place, present place, step; logarithms if `log`."""
        places = [math.log10(z) if self.log else z for z in (self.lo, self.hi, self.value)]
        return *places, (not self.log and self.step) or _nice((places[1] - places[0]) / _STEPS)

    def html(self, signal: str) -> str:
        """Return the control for the page; `signal` is the Vega signal that it sets."""
        lo, hi, value, step = self._track()
        return _row(
            self.label,
            self.text(),
            f'<input type="range" autocomplete="off" data-signal="{signal}" data-unit="{escape(self.unit)}"'
            f'{" data-log" if self.log else ""} min="{lo:.12g}" max="{hi:.12g}" step="{step:.12g}" '
            f'value="{value:.12g}" aria-valuetext="{escape(self.text())}">',
        )

    def widget(self, continuous: bool = True):
        """Return the ipywidgets control, whose `value` is the number itself."""
        import ipywidgets

        unit = "" if self.unit in ("", "1") else f"({self.unit})"
        shared = {
            "value": self.value,
            "description": _with_unit(self.label, unit),
            "continuous_update": continuous,
            "style": {"description_width": "initial"},
            "layout": {"width": "min(100%, 32em)"},
        }
        lo, hi, _, step = self._track()
        if self.log:
            return ipywidgets.FloatLogSlider(base=10, min=lo, max=hi, step=step, readout_format=".3g", **shared)
        return ipywidgets.FloatSlider(min=lo, max=hi, step=step, readout_format=".4g", **shared)


@dataclass(frozen=True)
class Choice:
    """A control that takes one of finitely many values: a slider over numbers, a menu over words."""

    name: str
    values: Sequence
    value: object
    label: str
    unit: str = "1"

    def __post_init__(self):
        if len(self.values) < 2 or len(set(self.values)) != len(self.values):
            raise ValueError(f"control {self.label!r}: expected distinct values, received {self.values}")
        if self.value not in self.values:
            raise ValueError(f"control {self.label!r}: start {self.value!r} is not among {list(self.values)}")

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    def text(self, value=None) -> str:
        """Return a value as the reader sees it, with its unit."""
        value = self.value if value is None else value
        return _with_unit(_digits(value, 4) if self.numeric else str(value), self.unit)

    def html(self, signal: str) -> str:
        """Return the control for the page; its position in `values` selects the frame."""
        texts, at = [self.text(v) for v in self.values], list(self.values).index(self.value)
        if not self.numeric:
            chosen = ["" if i != at else " selected" for i in range(len(texts))]
            options = "".join(f"<option{c}>{escape(t)}</option>" for c, t in zip(chosen, texts, strict=True))
            return _row(self.label, self.text(), f'<select autocomplete="off" data-choice>{options}</select>')
        return _row(
            self.label,
            self.text(),
            f'<input type="range" autocomplete="off" min="0" max="{len(texts) - 1}" step="1" value="{at}" '
            f'data-choice="{escape(json.dumps(texts, ensure_ascii=False))}" '
            f'aria-valuetext="{escape(texts[at])}">',
        )

    def widget(self, continuous: bool = True):
        """Return the ipywidgets control, whose `value` is one of `values`."""
        import ipywidgets

        shared = {
            "options": [(self.text(v), v) for v in self.values],
            "value": self.value,
            "description": self.label,
            "style": {"description_width": "initial"},
            "layout": {"width": "min(100%, 32em)"},
        }
        if self.numeric:
            return ipywidgets.SelectionSlider(continuous_update=continuous, **shared)
        return ipywidgets.Dropdown(**shared)


def _row(label: str, text: str, control: str) -> str:
    return (
        f'<div class="widget-control"><label><span>{escape(label)}</span>{control}</label>'
        f'<output aria-live="off">{escape(text)}</output></div>'
    )
