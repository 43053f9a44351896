"""A Python file's `predict` as a detector: its probabilities as margins, and every way in which it can go wrong."""

import gc
import os
import time

import numpy as np
import pytest
import torch

from dfrepro.errors import WorkbookError
from dfrepro.methods.imported.python import CLIP, PythonDetector, sha256_of

DYING = "import os\ndef predict(crops):\n    os.write(2, b'out of memory\\n')\n    os._exit(9)\n"
FACES = torch.arange(4 * 3 * 8 * 8, dtype=torch.float32).reshape(4, 3, 8, 8).remainder(256).byte()


def detector(tmp_path, code, size=8, **options):
    file = tmp_path / "predict.py"
    file.write_text(code)
    return PythonDetector(str(file), sha256_of(file), size, **options)


def says(expression):
    return f"import numpy as np\ndef predict(crops):\n    return {expression}\n"


def test_margins_are_the_logit_of_what_predict_says_of_the_crops(tmp_path):
    made = detector(tmp_path, "print('hello')\n" + says("crops[..., 0].mean((1, 2)) / 255"))
    output = made(FACES)
    share = FACES[:, 0].double().mean((1, 2)) / 255
    torch.testing.assert_close(output.margins, torch.logit(share).float())
    assert output.logits.shape == (4, 2)
    assert output.features.shape == (4, 1)


def test_probabilities_of_nought_and_one_are_clipped(tmp_path):
    margins = detector(tmp_path, says("np.array([0, 1, .5, CLIP])").replace("CLIP", str(CLIP / 2)))(FACES).margins
    most = float(np.log((1 - CLIP) / CLIP))
    torch.testing.assert_close(margins, torch.tensor([-most, most, 0, -most]), rtol=1e-4, atol=1e-6)


def test_it_has_no_weights_of_its_own(tmp_path):
    assert sum(parameter.numel() for parameter in detector(tmp_path, says("0")).parameters()) == 0


def test_crops_are_of_the_asked_size_and_stay_as_they_are_where_they_have_it(tmp_path):
    made = detector(tmp_path, says("np.full(len(crops), crops.shape[1] / 100)"), size=16)
    torch.testing.assert_close(made(FACES).margins.sigmoid(), torch.full((4,), 0.16))
    same = detector(tmp_path, says("0"))
    assert np.array_equal(same.crops(FACES), FACES.permute(0, 2, 3, 1).numpy())


def test_it_may_import_its_neighbours_and_keeps_what_it_has_loaded(tmp_path):
    (tmp_path / "weights.py").write_text("CALLS = []\n")
    code = "from weights import CALLS\nimport numpy as np\n"
    code += "def predict(crops):\n    CALLS.append(1)\n    return np.full(len(crops), len(CALLS) / 10)\n"
    made = detector(tmp_path, code)
    first, second = made(FACES).margins.sigmoid(), made(FACES).margins.sigmoid()
    assert first[0].item() == pytest.approx(0.1)
    assert second[0].item() == pytest.approx(0.2)


def test_a_file_edited_twice_within_a_second_is_read_as_it_is(tmp_path, monkeypatch):
    """Bytecode is known by its source's second and length alone."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    margins = []
    for code in (says("crops[..., 0].mean((1, 2)) / 255"), says("crops[..., 0].mean((1, 2)) / 510")):
        (tmp_path / "predict.py").write_text(code)
        os.utime(tmp_path / "predict.py", (1_700_000_000, 1_700_000_000))
        margins.append(
            PythonDetector(str(tmp_path / "predict.py"), sha256_of(tmp_path / "predict.py"), 8)(FACES).margins
        )
    assert (margins[1] < margins[0]).all()
    assert not (tmp_path / "__pycache__").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module_of_theirs", "loading it failed: ModuleNotFoundError.*no_such_module"),
        ("x = 1", "loading it failed: AttributeError.*predict"),
        ("import os; os._exit(7)", "ended with 7 while loading it"),
        (says("1 / 0"), "predict failed: ZeroDivisionError"),
        (DYING, "ended with 9 while predict: out of memory"),
        (says("np.zeros((len(crops), 2))"), r"shape \(4, 2\) for 4 crops"),
        (says("np.zeros(3)"), r"shape \(3,\) for 4 crops"),
        (says("'fake'"), "predict failed: ValueError"),
        (says("np.array([0, 1, np.nan, np.inf])"), "2 values that are not finite"),
        (says("np.array([0, 1, 2, -3])"), "returned -3 to 2.*P.fake."),
    ],
)  # fmt: skip
def test_what_goes_wrong_is_named_with_the_file(tmp_path, code, said):
    with pytest.raises(WorkbookError, match=said) as error:
        detector(tmp_path, code)(FACES)
    assert str(tmp_path / "predict.py") in str(error.value)


def test_a_batch_that_takes_too_long_is_an_error_and_its_process_is_gone(tmp_path):
    made = detector(tmp_path, "import time\n" + says("time.sleep(60)"), timeout=2.0)
    started = time.monotonic()
    with pytest.raises(WorkbookError, match="longer than 2 s.*--timeout"):
        made(FACES)
    assert time.monotonic() - started < 30
    assert made._process.process.wait(10) != 0


def test_a_file_that_has_changed_since_its_import_is_refused(tmp_path):
    made = detector(tmp_path, says("np.zeros(len(crops))"))
    (tmp_path / "predict.py").write_text(says("np.ones(len(crops))"))
    with pytest.raises(WorkbookError, match="not the one that was imported.*Import it again"):
        made(FACES)


def test_an_interpreter_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WorkbookError, match="no/python does not start.*--python"):
        detector(tmp_path, says("0"), python="/no/python")(FACES)


def test_the_process_ends_with_the_detector(tmp_path):
    made = detector(tmp_path, says("np.zeros(len(crops))"))
    made(FACES)
    process = made._process.process
    assert process.poll() is None
    del made
    gc.collect()
    assert process.poll() is not None
