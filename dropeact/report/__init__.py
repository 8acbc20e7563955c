"""Verdicts + measurements -> FINDINGS.md, figures and tables, from stored results alone; no model, no torch.

Figures are imported when a report is written: whoever compares runs needs none.
"""

from pathlib import Path


def write(directory: Path, *, output: Path | None = None) -> Path:
    """Write FINDINGS.md of the results in `directory`, and what it links to; return where it is.

    As `dropeact.report.folder.write`, which says where that is and what it replaces.
    """
    from dropeact.report.folder import write as write_folder

    return write_folder(directory, output=output)
