"""A model on the CPU -> its parts on two devices, with the hooks that accelerate puts there for `--device=auto`."""

from typing import Any

from accelerate import dispatch_model

from dropeact.probes.architectures import architecture_of, blocks_of
from tests.another_device import pretended

FIRST, SECOND = (f"{pretended.NAME}:{number}" for number in range(2))


def spread(model: Any) -> Any:
    """Embeddings and the first half of the blocks on one device; the others, and what follows, on the second."""
    places = places_of(model)
    for name, place in places.items():
        model.get_submodule(name).to(place)
    model.tie_weights()  # moving one of two tied weights parts them
    return dispatch_model(model, places, main_device=FIRST, skip_keys=model._skip_keys_device_placement)  # pyright: ignore[reportArgumentType] - a name is a device


def places_of(model: Any) -> dict[str, Any]:
    """A device for every part; a head that is tied to the embeddings stays with them, as accelerate has it."""
    blocks = architecture_of(model).blocks
    count = len(blocks_of(model))
    places = {f"{blocks}.{layer}": FIRST if 2 * layer < count else SECOND for layer in range(count)}
    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if list(module.children()) or not name or name.startswith(f"{blocks}."):
            continue
        after = "norm" in name or (module is head and not model.config.tie_word_embeddings)
        places[name] = SECOND if after else FIRST
    return places
