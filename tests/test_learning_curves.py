import json
import shutil

import pytest
import torch

from utils import data, learning_curves
from utils.data import DataError
from utils.learning_curves import LearningCurves


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(data.path("world.npz").parent / "SHA256SUMS", tmp_path)
    monkeypatch.setattr(data, "_ROOTS", (tmp_path,))
    return tmp_path


def save(folder, **changed):
    values = {"name": "some", "steps": [10, 20], "returns": torch.arange(10.0).view(5, 2) / 3}
    values |= changed
    return learning_curves.save(unit="reward", made_by="a test", folder=folder, **values)


def test_what_was_saved_is_loaded_to_five_digits(folder):
    save(folder)
    curves = learning_curves.load("some")
    saved = torch.arange(10.0, dtype=torch.float64).view(5, 2) / 3
    torch.testing.assert_close(curves.returns, saved, rtol=5e-5, atol=0)
    assert (curves.steps.tolist(), curves.unit, curves.made_by) == ([10, 20], "reward", "a test")


def test_saving_again_replaces_the_checksum_and_keeps_the_others(folder):
    lines = len((folder / "SHA256SUMS").read_text().splitlines())
    save(folder)
    save(folder, steps=[1, 2])
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == lines + 1
    assert learning_curves.load("some").steps.tolist() == [1, 2]


def test_a_damaged_file_is_refused(folder):
    file = save(folder)
    file.write_text(file.read_text().replace("10.0", "11.0"))
    with pytest.raises(DataError, match="damaged"):
        learning_curves.load("some")


def test_one_more_seed_falls_inside_as_often_as_promised():
    draws = torch.randn(4000, 6, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    low, high = zip(*(LearningCurves(torch.ones(1), d[:5], "1", "").interval(0.9) for d in draws), strict=True)
    inside = ((torch.stack(low) <= draws[:, 5]) & (draws[:, 5] <= torch.stack(high))).double().mean()
    assert abs(inside - 0.9) < 0.02  # four standard errors; without the factor 1 + 1/n: 0.87


def test_every_shipped_curve_has_five_seeds_and_a_script_that_exists():
    root = data.path("world.npz").parent.parent
    for file in (root / "data" / "learning_curves").glob("*.json"):
        curves = learning_curves.load(file.stem)
        assert curves.returns.shape[0] >= 5
        script = next(word for word in curves.made_by.split() if word.endswith(".py"))
        assert (root / script).is_file(), curves.made_by
        assert set(json.loads(file.read_text())) == {"unit", "made_by", "steps", "returns"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "a/b"}, "letters, digits and underscores, got 'a/b'"),
        ({"returns": torch.zeros(4, 2)}, r"seeds >= 5, K\), got \(2,\) and \(4, 2\)"),
        ({"steps": [1, 2, 3]}, r"got \(3,\) and \(5, 2\)"),
        ({"returns": torch.full((5, 2), torch.inf)}, "finite returns, got inf"),
    ],
)
def test_errors_name_what_was_expected_and_received_and_nothing_is_written(folder, changed, message):
    with pytest.raises(ValueError, match=message):
        save(folder, **changed)
    assert not (folder / "learning_curves").exists()


@pytest.mark.parametrize("level", [0, 1, 2.0])
def test_a_level_is_a_probability(level):
    with pytest.raises(ValueError, match=r"level in \(0, 1\)"):
        LearningCurves(torch.ones(1), torch.zeros(5, 1), "1", "").interval(level)
