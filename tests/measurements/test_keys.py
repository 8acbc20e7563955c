"""What a cell's key names, against what its numbers depend on."""

import ast
import dataclasses
import importlib
import inspect
import io
import sys
import tokenize
from types import CodeType, FunctionType, ModuleType

import pytest

from dropeact import pairs
from dropeact.measurements import (
    ablation,
    behaviour,
    core,
    long_context,
    massive_values,
    measuring,
    phenomena,
    plan,
    provenance,
    spectra,
)
from dropeact.store import Store

PLANS = (core, phenomena, behaviour, ablation, long_context)
WITHIN = ("dropeact.measurements", "dropeact.probes")
VOCABULARY = {
    "dropeact.probes.architectures": "names of modules: a wrong one fails, and gives no other number",
    "dropeact.measurements.measuring": "loads, tokenises and names: its numbers are the key's own entries",
    "dropeact.measurements.shapes": "how long a cell takes, not what is in it",
    "dropeact.measurements.partial_rotation": "named where a model rotates in part, which a Llama never does",
}
ELSEWHERE = {  # imports that not every user of a module runs; whoever does names them itself
    "dropeact.measurements.observe": core.observe.EVERYTHING,  # a list to choose phenomena from
    "dropeact.measurements.conditions": (behaviour.retrieval,),  # lengths, which the key holds
    "dropeact.measurements.ablated": (core.observe, phenomena.attention, phenomena.residual),  # of `effects` alone
    "dropeact.measurements.contrasts": (
        core.observe,
        phenomena.attention,
        phenomena.massive_values,
        phenomena.residual,
        core.spectra,
    ),
    "dropeact.measurements.retrieval": (core.interventions,),  # the long set gives it none
}
CHOICES = {  # a choice among conditions: only losses have those that these modules make, and name them
    ablation.interventions: (ablation.controls, ablation.disruption, ablation.channels),
    ablation.losses: (ablation.controls, ablation.disruption),
}
UNSAID = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
KEYED = (core.selection_keys,)  # the key of what it measures is in the key


def imported(module: ModuleType) -> set[str]:
    """Modules of the measurements and probes that a module imports and all its users run."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(WITHIN):
            submodules = {f"{node.module}.{name.name}" for name in node.names} & set(sys.modules)
            found |= submodules or {node.module}
    return found - {other.__name__ for other in ELSEWHERE.get(module.__name__, ())} - set(VOCABULARY)


def names_of(code: CodeType) -> set[str]:
    """Global names and attributes that a function uses, those of the functions within it included."""
    inner = [names_of(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def reached(function: FunctionType, seen: set[FunctionType]) -> set[str]:
    """Modules whose functions one of the plan's functions calls, directly or through other functions of the plan."""
    if function in seen or function in KEYED:
        return set()
    seen.add(function)
    names, found = names_of(function.__code__), set()
    plans = [vars(used) for name in names if (used := function.__globals__.get(name)) in PLANS]
    for scope in (function.__globals__, *plans):
        for value in (scope[name] for name in names if name in scope):
            home = value if isinstance(value, ModuleType) else sys.modules.get(getattr(value, "__module__", None) or "")
            if isinstance(value, FunctionType) and home in PLANS:
                found |= reached(value, seen)
            elif home is not None and home not in PLANS and home.__name__.startswith(WITHIN):
                found.add(home.__name__)
    return found - {module.__name__ for module in CHOICES.get(function, ())} - set(VOCABULARY)


def closed(modules: set[str]) -> set[str]:
    """Modules with all that they import."""
    found = set(modules)
    while new := set().union(*(imported(importlib.import_module(name)) for name in found)) - found:
        found |= new
    return found


def keys(pair, tmp_path):
    request = plan.Request(pair, sets="all", lengths=(512,))
    return {str(task.cell): task.cell.key for task in plan.tasks(plan.Measuring(request, Store(tmp_path)))}


def test_a_literal_write_layer_is_in_the_keys_of_what_is_measured_there_and_nowhere_else(tmp_path):
    base = pairs.load("smollm2-135m")
    one, other = (keys(dataclasses.replace(base, write_layer=layer), tmp_path) for layer in (3, 20))
    moved = {cell.split("/")[-1].split(".")[0] for cell in one if one[cell] != other[cell]}
    assert moved == {"knowledge", "retrieval", "ablation", "effects", "decoded"}
    selected = keys(base, tmp_path)
    assert [cell for cell in one if one[cell] == other[cell] != selected[cell]] == []


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """By measurement: the modules that its key names, and the function of the plan that asked for it."""
    named: dict[str, tuple[set[str], FunctionType]] = {}
    real = measuring.Measuring.cell

    def cell(self, column, corpus, half, measurement, code, **depends):
        frame = sys._getframe(1)
        asked = frame.f_globals[frame.f_code.co_name]
        named[f"{asked.__name__} {measurement}"] = ({module.__name__ for module in code}, asked)
        return real(self, column, corpus, half, measurement, code, **depends)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring.Measuring, "cell", cell)
        pair = dataclasses.replace(pairs.load("smollm2-135m"), published=True)
        request = plan.Request(pair, sets="all", lengths=(512,))
        plan.tasks(plan.Measuring(request, Store(tmp_path_factory.mktemp("none"))))
    return named


def test_a_key_names_every_module_that_its_numbers_come_from_against_a_walk_over_imports(planned):
    missing = {}
    for what, (named, asked) in planned.items():
        used = closed(named | reached(asked, set()))
        if lacking := sorted(used - named):
            missing[what] = lacking
    assert missing == {}


def test_another_threshold_of_the_vocabulary_is_another_key(monkeypatch):
    before, other = provenance.source_hash(massive_values), provenance.source_hash(spectra)
    monkeypatch.setattr(massive_values, "MASSIVE_THRESHOLD", 4.0)
    assert provenance.source_hash(massive_values) != before
    assert provenance.source_hash(spectra) == other  # which uses none


PLAIN = """
def shares(norms):
    text = '''# no comment

    of it'''
    return norms / norms.sum(), text
"""
TOLD = """
# Why.
def shares(norms):
    '''What each norm is of them all.

    s = n / sum n
    '''
    text = '''# no comment

    of it'''  # kept
    # one more reason
    return norms / norms.sum(), text
"""


def test_what_a_module_says_of_itself_is_in_no_key_against_the_same_code_without_a_word():
    assert provenance.computing(TOLD) == provenance.computing(PLAIN)
    assert "of it" in provenance.computing(TOLD)


@pytest.mark.parametrize(("before", "after"), [("norms /", "norms *"), ("# no", "# a"), ("\n\n    of", "\n    of")])
def test_changed_code_is_another_key_a_text_that_looks_like_a_comment_included(before, after):
    assert provenance.computing(TOLD) != provenance.computing(TOLD.replace(before, after, 1))


def said(source: str) -> list[str]:
    """The tokens of a program, a text that is a statement of its own (a docstring) left out."""
    words = [t for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type not in UNSAID]
    alone = [
        word.type == tokenize.STRING and {before.type, after.type} <= {tokenize.NEWLINE, tokenize.ENDMARKER}
        for before, word, after in zip([words[-1], *words], words, [*words[1:], words[0]], strict=False)
    ]
    return [word.string for word, left_out in zip(words, alone, strict=True) if word.string.strip() and not left_out]


def test_a_key_reads_every_word_of_a_module_that_computes_against_its_tokens():
    for name in sorted(name for name in sys.modules if name.startswith(WITHIN)):
        source = inspect.getsource(sys.modules[name])
        assert said(provenance.computing(source)) == said(source), name
