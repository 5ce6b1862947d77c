"""What `watcher explain` says of a run beside its rules."""

from __future__ import annotations

import numpy as np

from tests.source.growing import GrowingFile, tensor
from watcher import report


def test_values_that_gave_nothing_are_told(tmp_path):
    file = GrowingFile(tmp_path / "run").scalars("loss", range(5))
    file.write(*(tensor("pair", step, np.zeros(2, np.float32), "scalars") for step in range(4)))
    found = report.survey_of_logs([tmp_path], [], None, None, False)
    lines = list(report.explained(found, None))
    assert "  4 values in run are not one number, or unreadable: ignored" in lines
