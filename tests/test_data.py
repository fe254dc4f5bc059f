import shutil
from pathlib import Path

import pytest
import torch

from utils import data
from utils.data import DataError


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A private copy of the world file, to damage."""
    shutil.copy(data.path("world.npz"), tmp_path)
    shutil.copy(data.path("world.npz").parent / "SHA256SUMS", tmp_path)
    monkeypatch.setattr(data, "_ROOTS", (tmp_path,))
    return tmp_path / "world.npz"


SHAPES = {
    "mnist_10k": {"x_train": (8000, 28, 28), "y_test": (2000,)},
    "fashion_5k": {"x_train": (5000, 28, 28), "y_test": (1000,)},
    "emoji32": {"images": (1021, 3, 32, 32, 4)},
    "emoji_sprites64": {"images": (150, 64, 64, 4), "label": (150,)},
    "world": {"lonlat": (168989, 2), "land": (180, 360)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_tensors_have_the_documented_shapes(name):
    loaded = data.load(name)
    assert {field: tuple(getattr(loaded, field).shape) for field in SHAPES[name]} == SHAPES[name]


def test_every_shipped_file_matches_its_checksum_and_every_name_loads():
    files = [line.split()[1] for line in (data.path("world.npz").parent / "SHA256SUMS").read_text().splitlines()]
    assert all(data.path(file).is_file() for file in files)
    assert all(vars(data.load(name)) for name in data.NAMES)


def test_labels_are_integers_and_pixels_are_bytes():
    mnist = data.load("mnist_10k")
    assert (mnist.x_train.dtype, mnist.y_train.dtype) == (torch.uint8, torch.int64)
    assert mnist.y_test.bincount(minlength=10).min() > 150


def test_texts_boxes_and_meshes_are_what_data_md_counts():
    poems = data.load("tang_quatrains").poems
    assert len(poems) == 11_166
    assert {len(p) for p in poems} == {3}
    assert len(data.load("moby_dick").text) == 1_189_779
    trees = data.load("trees")
    assert sum(map(len, trees.boxes.values())) == 951
    assert all((b[:, 2:] > b[:, :2]).all() for b in trees.boxes.values())
    vertices, faces = data.load("meshes").suzi
    assert len(vertices) == 7503
    assert int(faces.max()) < 7503


def test_cities_lie_on_the_land_mask_when_row_0_is_north():
    world = data.load("world")
    row = 179 - (world.lonlat[:, 1] + 90).floor().long().clamp(0, 179)
    column = (world.lonlat[:, 0] + 180).floor().long().clamp(0, 359)
    assert world.land[row, column].float().mean() > 0.85
    assert world.land.flip(0)[row, column].float().mean() < 0.2


def test_digits_are_one_stratified_split():
    digits = data.digits()
    assert digits.x_train.shape == (1297, 64)
    assert digits.x_test.shape == (500, 64)
    assert digits.y_test.bincount().min() >= 48
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 16)


def test_one_flipped_bit_is_found(copied):
    raw = bytearray(copied.read_bytes())
    raw[len(raw) // 2] ^= 1
    copied.write_bytes(raw)
    with pytest.raises(DataError, match=r"'world.npz' is damaged: expected SHA-256 \w{64}, got \w{64}"):
        data.load("world")


def test_a_missing_file_is_named(copied):
    copied.unlink()
    with pytest.raises(DataError, match=r"'world.npz': expected at .*, got nothing there"):
        data.load("world")


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_ROOTS", (tmp_path / "nowhere",))
    with pytest.raises(DataError, match="expected SHA256SUMS"):
        data.load("world")


@pytest.mark.parametrize("call", [lambda: data.load("imagenet"), lambda: data.path("../pyproject.toml")])
def test_an_unknown_name_lists_the_known_ones(call):
    with pytest.raises(DataError, match=r"expected one of \[.*world"):
        call()


def test_nothing_is_unpickled():
    assert "allow_pickle=True" not in Path(data.__file__).read_text()


@pytest.mark.parametrize("name", ["", "two words.json", "../outside.json"])
def test_a_file_is_stored_inside_the_data_folder_or_not_at_all(tmp_path, name):
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="inside the data folder, without spaces, got"):
        data.store(name, b"x", tmp_path / "data")
    assert not any(file.is_file() for file in tmp_path.rglob("*"))
