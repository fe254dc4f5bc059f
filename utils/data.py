"""Named loaders for the real data that the book ships: checksum first, then typed tensors.

The files and their licences are described in `data/DATA.md`. Nothing is unpickled, nothing is downloaded.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

__all__ = ["NAMES", "DataError", "digits", "emoji", "load", "path", "store"]

_ROOTS = (
    Path(__file__).parent / "_data",
    Path(__file__).parent.parent / "data",
)  # in the wheel, in the repository

NAMES = (
    "emoji32",
    "emoji_sprites64",
    "fashion_5k",
    "meshes",
    "mnist_10k",
    "moby_dick",
    "tang_quatrains",
    "trees",
    "world",
)


class DataError(ValueError):
    """A data file is unknown, missing or damaged."""


def path(name: str) -> Path:
    """Path of one shipped file, after its SHA-256 was verified.

    Args:
        name: file name relative to the data folder, such as "world.npz" or "trees/boxes.json".

    Raises:
        DataError: the name is not in SHA256SUMS, the file is missing, or its bytes are not the shipped ones.

    >>> path("trees/boxes.json").name
    'boxes.json'
    """
    root = next((r for r in _ROOTS if (r / "SHA256SUMS").is_file()), None)
    if root is None:
        raise DataError(f"data folder: expected SHA256SUMS in one of {[str(r) for r in _ROOTS]}, got none")
    sums = {file: digest for digest, file in (line.split() for line in (root / "SHA256SUMS").read_text().splitlines())}
    if name not in sums:
        raise DataError(f"data file: expected one of {sorted(sums)}, got {name!r}")
    file = root / name
    if not file.is_file():
        raise DataError(f"data file {name!r}: expected at {file}, got nothing there")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != sums[name]:
        raise DataError(f"data file {name!r} is damaged: expected SHA-256 {sums[name]}, got {digest}")
    return file


def store(name: str, content: bytes, folder: Path = _ROOTS[1]) -> Path:
    """Write one file of the data folder with its line in `SHA256SUMS`; for the scripts in `benchmarks/`.

    Args:
        name: file name relative to the data folder.
        content: its bytes.
        folder: the data folder, by default the repository's.

    Raises:
        ValueError: the name leaves the folder or is not one word (a line of `SHA256SUMS` could not hold it).
    """
    if not name or name.split() != [name] or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"store: expected a file name inside the data folder, without spaces, got {name!r}")
    file, sums = folder / name, folder / "SHA256SUMS"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    kept = [line for line in sums.read_text().splitlines() if line.split()[1] != name]
    sums.write_text("\n".join([*kept, f"{hashlib.sha256(content).hexdigest()}  {name}"]) + "\n")
    return file


def load(name: str) -> SimpleNamespace:
    """One data set as a namespace of tensors (images stay uint8, coordinates become float32) and Python lists.

    | name | fields |
    |---|---|
    | mnist_10k, fashion_5k | x_train, x_test (N, 28, 28) uint8 in 0..255; y_train, y_test (N,) int64 |
    | emoji32 | images (1021, 3, 32, 32, 4) uint8 RGBA; styles, name, name_zh, group, subgroup, emoji: lists |
    | emoji_sprites64 | images (150, 64, 64, 4) uint8; label (150,) int64; style, name, classes: lists |
    | trees | boxes: file name to (N, 4) float32 xyxy pixels; photos: file name to path |
    | tang_quatrains | poems: list of (title, author, poem) |
    | moby_dick | text: one string |
    | world | lonlat (168989, 2) float32 degrees; land (180, 360) bool, 1-degree cells, row 0 north, column 0 west |
    | meshes | suzi, airplane, ant, nut: (vertices (V, 3) float32, faces (F, 3) int64) |

    Raises:
        DataError: unknown name, missing file or damaged file.

    >>> load("mnist_10k").x_train.shape
    torch.Size([8000, 28, 28])
    """
    if name not in NAMES:
        raise DataError(f"data set: expected one of {list(NAMES)}, got {name!r}")
    return _READERS.get(name, _arrays)(name)


@cache
def digits() -> SimpleNamespace:
    """scikit-learn's 1,797 digits of 8x8 pixels in the one split of this book: 1,297 train, 500 test, stratified.

    Returns `x_train (1297, 64)` and `x_test (500, 64)`, float32 grey levels 0..16, and `y_train`, `y_test` int64.
    A binary image is `x > 7`. Treat the tensors as read-only: they are shared.

    Source: Alpaydin & Kaynak (1998), UCI Optical Recognition of Handwritten Digits, test part.

    >>> digits().x_train.shape, float(digits().x_train.max())
    (torch.Size([1297, 64]), 16.0)
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=500, random_state=0, stratify=y)
    return SimpleNamespace(
        x_train=torch.from_numpy(x_train).float(),
        x_test=torch.from_numpy(x_test).float(),
        y_train=torch.from_numpy(y_train).long(),
        y_test=torch.from_numpy(y_test).long(),
    )


@cache
def emoji() -> SimpleNamespace:
    """1,021 emoji, each drawn in three styles, in the one split of this book: 820 to train on, 201 to test.

    Returns `x_train (820, 3, 3, 32, 32)` and `x_test (201, 3, 3, 32, 32)`, float32 in [0, 1]: emoji, style, colour
    channel, row, column, pasted on white; `styles`, `name_train`, `name_test`. Treat the tensors as read-only.

    Source: Noto (Google), Twemoji (Twitter) and Fluent (Microsoft); see `data/DATA.md`.

    >>> emoji().x_test.shape, emoji().styles
    (torch.Size([201, 3, 3, 32, 32]), ['noto', 'twemoji', 'fluent'])
    """
    raw = load("emoji32")
    rgba = raw.images.float() / 255
    x = (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).permute(0, 1, 4, 2, 3).contiguous()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[201:], order[:201]
    return SimpleNamespace(
        x_train=x[train],
        x_test=x[test],
        styles=raw.styles,
        name_train=[raw.name[i] for i in train],
        name_test=[raw.name[i] for i in test],
    )


def _npz(file: str) -> dict[str, np.ndarray]:
    with np.load(path(file), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def _arrays(name: str) -> SimpleNamespace:
    return SimpleNamespace(**{key: _typed(value) for key, value in _npz(f"{name}.npz").items()})


def _typed(array: np.ndarray) -> Tensor | list[str]:
    if array.dtype.kind == "U":
        return array.tolist()
    if array.dtype == np.uint8 and array.ndim > 1:
        return torch.from_numpy(array)
    return torch.from_numpy(array.astype(np.int64))


def _text(file: str) -> str:
    return gzip.decompress(path(file).read_bytes()).decode("utf-8")


def _tang(name: str) -> SimpleNamespace:
    lines = io.StringIO(_text(f"{name}.txt.gz")).read().splitlines()
    return SimpleNamespace(poems=[tuple(line.split("\t")) for line in lines])


def _moby(name: str) -> SimpleNamespace:
    return SimpleNamespace(text=_text(f"{name}.txt.gz"))


def _trees(name: str) -> SimpleNamespace:
    table = json.loads(path("trees/boxes.json").read_text())
    boxes = {photo: torch.tensor(entry["boxes_xyxy"], dtype=torch.float32) for photo, entry in table.items()}
    return SimpleNamespace(boxes=boxes, photos={photo: path(f"trees/{photo}.jpg") for photo in table})


def _world(name: str) -> SimpleNamespace:
    raw = _npz("world.npz")
    land = np.unpackbits(raw["land"]).reshape(180, 360).astype(bool)
    return SimpleNamespace(lonlat=torch.from_numpy(raw["lonlat100"]).float() / 100, land=torch.from_numpy(land))


def _meshes(name: str) -> SimpleNamespace:
    raw = _npz("meshes.npz")
    return SimpleNamespace(
        **{
            mesh: (torch.from_numpy(raw[f"{mesh}_v"]).float(), torch.from_numpy(raw[f"{mesh}_f"].astype(np.int64)))
            for mesh in ("suzi", "airplane", "ant", "nut")
        }
    )


_READERS = {"tang_quatrains": _tang, "moby_dick": _moby, "trees": _trees, "world": _world, "meshes": _meshes}
