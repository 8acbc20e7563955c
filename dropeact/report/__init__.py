"""Verdicts + measurements -> FINDINGS.md, figures and tables, from stored results alone; no model, no torch.

`folder.write` renders a folder of results. Nothing is imported here: whoever compares runs needs no figures.
"""
