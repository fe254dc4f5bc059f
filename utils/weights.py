"""Trained weights that a chapter loads because training them would exceed its minute, made by a script and shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load as read
from safetensors.torch import save as written
from torch import Tensor

from utils import data

__all__ = ["load", "save"]

_LARGEST = 2_000_000  # bytes
_DATA = Path(__file__).parent.parent / "data"


def load(name: str) -> dict[str, Tensor]:
    """The shipped weights of that name as float32 tensors, after their checksum was verified.

    Raises:
        DataError: unknown name or damaged file.
    """
    stored = read(data.path(f"weights/{name}.safetensors").read_bytes())
    return {key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in stored.items()}


def save(name: str, state: Mapping[str, Tensor], *, made_by: str, folder: Path = _DATA) -> Path:
    """Write `weights/<name>.safetensors` and its line in `SHA256SUMS`; for the scripts in `benchmarks/`.

    Args:
        name: letters, digits and underscores.
        state: a state dictionary; floating-point tensors are stored as float16, so a weight keeps 3 digits.
        made_by: the command that trained them, kept in the file's header.

    Raises:
        ValueError: a bad name, no tensors, weights that are not finite in float16 (largest 65,504), or more than 2 MB.
    """
    if not name.isidentifier():
        raise ValueError(f"save: expected a name of letters, digits and underscores, got {name!r}")
    if not state:
        raise ValueError("save: expected at least one tensor, got none")
    stored = {key: _half(tensor.detach().cpu()).contiguous() for key, tensor in state.items()}
    bad = [key for key, tensor in stored.items() if not tensor.isfinite().all()]
    if bad:
        raise ValueError(f"save: expected weights that are finite in float16, got others in {bad}")
    content = written(stored, {"made_by": made_by})
    if len(content) > _LARGEST:
        raise ValueError(f"save: expected at most {_LARGEST:,} bytes, got {len(content):,}")
    return data.store(f"weights/{name}.safetensors", content, folder)


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor
