"""`python -m dropeact` is the command `dropeact` (what `torchrun -m` needs)."""

from dropeact.cli import main

if __name__ == "__main__":
    main()
