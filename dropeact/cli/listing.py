"""Commands that list what is known: claims and pairs."""


def claims() -> None:
    """List every claim with its source and region.

    Example: dropeact claims | grep sink
    """
    from dropeact import published
    from dropeact.verdicts import load_claims

    known = load_claims()
    for id, entry in published.claims().items():
        judged = f"{known[id].kind}, {known[id].region}" if id in known else "not judged yet"
        print(f"{id:<38} {entry.source:<34} {judged}")
    for id in sorted(set(known) - set(published.claims())):
        print(f"{id:<38} {'this project':<34} {known[id].kind}, {known[id].region}")


def pairs() -> None:
    """List the known pairs.

    Example: dropeact pairs
    """
    from dropeact.pairs import DEFAULT, known

    for pair in known().values():
        note = " (default)" if pair.name == DEFAULT else ""
        print(f"{pair.name:<16}{pair.rope}  |  {pair.drope}  |  {pair.primary_arm} arm{note}")
