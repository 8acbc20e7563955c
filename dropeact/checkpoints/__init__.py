"""What is measured: checkpoints are found, loaded, dropped, recalibrated and converted here.

identifier -> `source` (where it lies, whether it can be used) -> `identity` (what it is, without torch)
           -> `load` (a model that runs) -> `drope` (the same weights without rotation) -> `recalibrate`
"""
