import json
import shutil
import struct

import pytest
import torch

from utils import data, weights
from utils.data import DataError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copy(data.path("world.npz").parent / "SHA256SUMS", tmp_path)
    monkeypatch.setattr(data, "_ROOTS", (tmp_path,))
    return tmp_path


def save(folder, state, name="some"):
    return weights.save(name, state, made_by="python benchmarks/a.py", folder=folder)


def test_what_was_saved_is_loaded_to_three_digits(folder):
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    save(folder, model.state_dict())
    loaded = weights.load("some")
    torch.testing.assert_close(loaded, dict(model.state_dict()), rtol=2**-11, atol=1e-7)
    torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4)).load_state_dict(loaded)


def test_a_damaged_or_unknown_file_is_refused(folder):
    file = save(folder, {"w": torch.ones(3)})
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(DataError, match="damaged"):
        weights.load("some")
    with pytest.raises(DataError, match=r"got 'weights/other\.safetensors'"):
        weights.load("other")


@pytest.mark.parametrize(
    ("name", "state", "message"),
    [
        ("a/b", {"w": torch.ones(1)}, "letters, digits and underscores, got 'a/b'"),
        ("some", {}, "at least one tensor, got none"),
        ("some", {"w": torch.ones(1), "v": torch.tensor([1e6])}, r"finite in float16, got others in \['v'\]"),
        ("some", {"w": torch.ones(1_000_001)}, "at most 2,000,000 bytes, got 2,000"),
    ],
)
def test_errors_name_what_was_expected_and_nothing_is_written(folder, name, state, message):
    with pytest.raises(ValueError, match=message):
        save(folder, state, name)
    assert not (folder / "weights").exists()


def test_every_shipped_weight_file_names_the_script_that_made_it_and_is_small():
    root = data.path("world.npz").parent.parent
    for file in (root / "data" / "weights").glob("*.safetensors"):
        content = file.read_bytes()
        header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
        script = next(word for word in header["__metadata__"]["made_by"].split() if word.endswith(".py"))
        assert (root / script).is_file(), script
        assert len(content) <= 2_000_000
        assert all(tensor.isfinite().all() for tensor in weights.load(file.stem).values())
