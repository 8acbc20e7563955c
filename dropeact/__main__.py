"""`python -m dropeact` is the command `dropeact` (what `accelerate launch -m` needs)."""

from dropeact.cli import main

if __name__ == "__main__":
    main()
