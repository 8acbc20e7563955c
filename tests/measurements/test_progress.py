from transformers.utils import logging

from dropeact.measurements.progress import Progress


def test_bars_of_others_are_silent_while_ours_counts_and_back_afterwards(capsys):
    before = logging.is_progress_bar_enabled()
    with Progress(2) as bar:
        assert not logging.is_progress_bar_enabled()
        bar.describe("cell")
        bar.advance(2)
    assert logging.is_progress_bar_enabled() == before
    assert "cell: 2/2 passes, about 0.0 minutes left" in capsys.readouterr().err
