"""What can go wrong in a derivation, one class each."""

__all__ = ["StepError", "TimeLimitError", "UndefinedPoint", "UnevaluableStep"]


class StepError(ValueError):
    """A step that does not hold: the message names the step, the point and both values."""

    def __repr__(self) -> str:
        """Return the message on its own lines, as a notebook shows it."""
        return f"{type(self).__name__}: {self}"


class UnevaluableStep(StepError):
    """A step that could be neither refuted nor evaluated: never a silent pass."""


class UndefinedPoint(ArithmeticError):
    """A side has no finite value at this point, or none that could be computed to enough digits."""


class TimeLimitError(BaseException):
    """Time is up. Not an `Exception`, so that no `except Exception` on the way swallows it."""
