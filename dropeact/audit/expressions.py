"""Arithmetic over recorded figures: an expression in, a number or a truth value out; nothing else can be reached."""

import ast
import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

from dropeact.published import Number

Evaluate = Callable[[str], float]

MAX_LENGTH = 1000
_REFUSED = (InvalidExpression, SyntaxError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)
_REFUSED += (RecursionError, MemoryError)


class ExpressionError(ValueError):
    """An expression that cannot be evaluated, with the reason in one line."""


def evaluator(figures: Mapping[str, Any]) -> Evaluate:
    """Give the function that evaluates an expression over `figures`.

    A dot is a key of the figures (`disruption.rope.massive_dims`), never an attribute; brackets index lists. Allowed
    are numbers, + - * / **, comparisons, and/or/not, and the functions of `FUNCTIONS`.

    Raises
    ------
    ExpressionError
        When called with anything else, with a key that is missing, or where the result is not a finite number.
    """
    arithmetic = _Arithmetic(figures)

    def evaluate(expression: str) -> float:
        if len(expression) > MAX_LENGTH:
            raise ExpressionError(f"longer than {MAX_LENGTH} characters")
        try:
            parsed = ast.parse(expression.strip(), mode="eval").body
            return float(_number(arithmetic.eval(expression, parsed)))
        except _REFUSED as error:
            raise ExpressionError(" ".join(str(error).split()) or type(error).__name__) from None

    return evaluate


class _Arithmetic(SimpleEval):
    """simpleeval without attributes, methods, text, assignment, conditionals, keywords and comprehensions."""

    def __init__(self, figures: Mapping[str, Any]):
        super().__init__(operators=dict(_OPERATORS), functions=dict(FUNCTIONS), names=figures)
        known: dict[Any, Any] = dict(self.nodes or {})
        kinds = (ast.Name, ast.Constant, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Call, ast.Subscript)
        self.nodes = {kind: known[kind] for kind in (*kinds, ast.Slice)} | {ast.Attribute: self._eval_key}

    def _eval_key(self, node: ast.Attribute) -> Any:
        table = self._eval(node.value)
        if not isinstance(table, Mapping):
            raise TypeError(f".{node.attr}: a dot is a key of the figures, and this is a {type(table).__name__}")
        if node.attr not in table:
            raise LookupError(f"no figure {node.attr!r} beside {', '.join(map(str, table))}")
        return table[node.attr]


def _number(value: Any) -> Number:
    if not isinstance(value, int | float):
        raise TypeError(f"expected a number; got a {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"expected a finite number; got {value}")
    return value


def _on_numbers(operation: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: operation(*map(_number, values))


def _mean(values: Sequence[Number]) -> float:
    return statistics.fmean(map(_number, values))


def _percent(before: Number, after: Number) -> float:
    return 100 * (after / before - 1)


def _argmax(values: Sequence[Number]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _argmin(values: Sequence[Number]) -> int:
    return min(range(len(values)), key=values.__getitem__)


def _above(values: Sequence[Number], bound: Sequence[Number] | Number) -> list[int]:
    bounds = bound if isinstance(bound, Sequence) else [bound] * len(values)
    return [index for index, (value, least) in enumerate(zip(values, bounds, strict=True)) if value > least]


def _differences(left: Sequence[Number], right: Sequence[Number]) -> list[Number]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _p_two_sided(t: Number, dof: Number) -> float:
    """Student's two-sided p: I_x(dof/2, 1/2) at x = dof / (dof + t^2), by its power series in x.

    The series keeps its relative precision at p = 1e-87, where 1 - cdf has none left.
    """
    x, a = dof / (dof + t * t), dof / 2
    log_front = a * math.log(x) + 0.5 * math.log1p(-x) - math.log(a)
    log_beta = math.lgamma(a) + math.lgamma(0.5) - math.lgamma(a + 0.5)
    term = total = 1.0
    for n in range(100_000):
        term *= x * (a + 0.5 + n) / (a + 1 + n)
        total += term
        if term < 1e-16 * total:
            break
    return math.exp(log_front - log_beta) * total


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _on_numbers(operator.add),
    ast.Sub: _on_numbers(operator.sub),
    ast.Mult: _on_numbers(operator.mul),
    ast.Div: _on_numbers(operator.truediv),
    ast.Pow: _on_numbers(math.pow),
    ast.USub: _on_numbers(operator.neg),
    ast.UAdd: _on_numbers(operator.pos),
    ast.Not: operator.not_,
    ast.Eq: _on_numbers(operator.eq),
    ast.NotEq: _on_numbers(operator.ne),
    ast.Gt: _on_numbers(operator.gt),
    ast.Lt: _on_numbers(operator.lt),
    ast.GtE: _on_numbers(operator.ge),
    ast.LtE: _on_numbers(operator.le),
}

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "sqrt": math.sqrt,
    "log": math.log,
    "sum": math.fsum,
    "min": min,
    "max": max,
    "count": len,
    "mean": _mean,
    "sd": statistics.stdev,
    "population_sd": statistics.pstdev,
    "percent": _percent,  # percent(before, after): the increase
    "argmax": _argmax,  # the first index of the largest
    "argmin": _argmin,
    "count_above": lambda values, bound: len(_above(values, bound)),  # bound: a number or a list as long
    "first_above": lambda values, bound: _above(values, bound)[0],
    "differences": _differences,  # element by element
    "largest_gap": lambda left, right: max(map(abs, _differences(left, right))),
    "steps": lambda values: _differences(values[1:], values[:-1]),  # from each element to the next
    "column": lambda rows, key: [row[key] for row in rows],  # one key of a list of tables
    "p_two_sided": _p_two_sided,  # p_two_sided(t, degrees of freedom)
}
