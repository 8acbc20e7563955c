"""Speed, memory and error rates, each beside its alternatives: docs/performance.md and docs/calibration.md."""

import dropeact as dropeact  # before torch, as every command does: it says how idle threads wait
