"""SQLAlchemy's INSERT, UPDATE and DELETE as records: compiled once per shape into SQL text with `$n` and plain values.

Nothing here touches a database. Equal shapes give equal text, so that the committer runs them together. Defaults of
Python (`default=`, `onupdate=`) are evaluated when the statement is recorded; those of the server are left to it.
Refused: RETURNING (nobody could read it), queries, and an ORM update by primary key, which only a Session can run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = Mapping[str, Any]
    Write = tuple[str, Sequence[object]]

SHAPES_MAX = 1_024
"""How many compiled shapes are kept; at more, all are compiled again when they come."""

_PLACEHOLDERS_ONLY = re.compile(r"VALUES \(\$1(?:, \$\d+)*\)(?: ON CONFLICT[^$]* DO NOTHING)?$")
"""An INSERT whose values get their types from its columns: the driver may send many rows of it as columns."""

_NO_ROW: Mapping[str, Any] = MappingProxyType({})


class Step(NamedTuple):
    """Where one parameter comes from: exactly one of the first three is not None, or else it is the fixed `value`."""

    given: str | None = None
    """Its name in the row of values that was recorded with the statement."""
    bound: int | None = None
    """Its number among the values that the statement itself holds."""
    default: Callable[[Any], Any] | None = None
    """The column's default, evaluated now."""
    value: object = None
    process: Callable[[Any], Any] | None = None
    """From the type's Python value to what the driver takes."""


class Plan(NamedTuple):
    """A shape, compiled. `expanding` is set where the text depends on the values (a list in IN)."""

    text: str
    steps: tuple[Step, ...]
    names: tuple[str, ...]
    expanding: Any = None
    pick: Callable[[Any], tuple[Any, ...]] | None = None
    """All the values of a row at once, where they are taken as they are given."""


class _Known(NamedTuple):
    """A statement that comes with rows, seen before: its plans by the names in the row."""

    statement: Any  # kept alive, so that its id is not given to another one
    key: Any
    plans: dict[tuple[str, ...], Plan]


class _Mark(NamedTuple):
    """Stands in for a value while a statement is compiled, to find out where that value goes."""

    given: str | None = None
    bound: int | None = None

    @property
    def value(self) -> _Mark:
        """As of a bind parameter."""
        return self

    @property
    def effective_value(self) -> _Mark:
        """As of a bind parameter."""
        return self


class Evaluation:
    """What a default that takes a context may ask: the values of its own row."""

    __slots__ = ("_binds", "_plan", "_row")

    def __init__(self, plan: Plan, row: Row, binds: Sequence[Any]) -> None:
        """Of one row."""
        self._plan, self._row, self._binds = plan, row, binds

    @property
    def current_parameters(self) -> dict[str, Any]:
        """Every value of the row that is no default itself, by its column's key."""
        plan = self._plan
        return {
            name: _value(step, self._row, self._binds, self)
            for name, step in zip(plan.names, plan.steps, strict=True)
            if step.default is None
        }

    def get_current_parameters(self, *, isolate_multiinsert_groups: bool = True) -> dict[str, Any]:  # noqa: ARG002 - SQLAlchemy's
        """As `current_parameters`."""
        return self.current_parameters


class Statements:
    """SQLAlchemy statements for one dialect of ours, `sqlite` or `postgresql`. Usable from every thread."""

    def __init__(self, dialect: str) -> None:
        """Load SQLAlchemy's own dialect. Raises WiringError for one that is unknown here."""
        self._dialects = _dialects(dialect)
        self._plans: dict[object, Plan] = {}
        self._known: dict[int, _Known] = {}

    def writes(self, statement: Any, rows: Sequence[Any]) -> list[Write]:  # noqa: ANN401 - SQLAlchemy is optional
        """A statement with its rows of values (none: the statement holds them) as text and values.

        Raises WiringError for what cannot be recorded.
        """
        if isinstance(statement, str):  # of a subclass
            return [(str(statement), rows)]
        if not rows:
            key = _key_of(statement)
            return [written(self.plan(statement, key, _NO_ROW), _NO_ROW, () if key is None else key.bindparams)]
        known = self._known.get(id(statement)) or self._seen(statement)
        plans = known.plans
        found: list[Write] = []
        for row in rows:
            given = row if row.__class__ is dict else _checked(row)
            names = tuple(given)
            plan = plans.get(names)
            if plan is None:
                plan = plans[names] = self.plan(statement, known.key, given)
            found.append(written(plan, given, () if known.key is None else known.key.bindparams))
        return found

    def plan(self, statement: Any, key: Any, row: Row) -> Plan:  # noqa: ANN401 - SQLAlchemy's, untyped
        """The compiled shape of a statement with such a row; `key` is its cache key, or None if it has none."""
        if key is None or getattr(key, "params", None):
            return self._compiled(statement, None, tuple(row))
        shape = (key.key, tuple(row))
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= SHAPES_MAX:
                self._plans.clear()
            plan = self._plans[shape] = self._compiled(statement, key, tuple(row))
        return plan

    def _seen(self, statement: Any) -> _Known:  # noqa: ANN401 - as above
        if len(self._known) >= SHAPES_MAX:
            self._known.clear()
        known = self._known[id(statement)] = _Known(statement, _key_of(statement), {})
        return known

    def _compiled(self, statement: Any, key: Any, given: tuple[str, ...]) -> Plan:  # noqa: ANN401 - as above
        columns = _columns_of(statement)
        _check(statement, given, is_mapped=columns is not None)
        names = {columns.get(name, name) if columns else name: name for name in given}
        keys = list(names)
        compiled = statement.compile(dialect=self._dialects[0], column_keys=keys, for_executemany=True, cache_key=key)
        if len(self._dialects) > 1 and not _PLACEHOLDERS_ONLY.search(compiled.string):
            compiled = statement.compile(
                dialect=self._dialects[1], column_keys=keys, for_executemany=True, cache_key=key
            )
        marks = {name: _Mark(given=asked) for name, asked in names.items()}
        bound = None if key is None else [_Mark(bound=number) for number in range(len(key.bindparams))]
        values = compiled.construct_params(marks, extracted_parameters=bound, escape_names=False, _no_postcompile=True)
        defaults = _defaults_of(compiled)
        processors = compiled._bind_processors  # noqa: SLF001 - by name; the public way is one call per type
        expands = bool(compiled.post_compile_params or compiled.literal_execute_params)
        order = tuple(values) if expands else tuple(compiled.positiontup or ())
        _check_used(statement, given, (values[name] for name in order))
        steps = tuple(
            _step(values[name], defaults.get(name), None if expands else processors.get(name)) for name in order
        )
        return Plan(compiled.string, steps, order, compiled if expands else None, None if expands else _pick(steps))


def written(plan: Plan, row: Row, binds: Sequence[Any]) -> Write:
    """The text and values of one row. `binds` are the parameters that the statement holds, as in its cache key."""
    if plan.pick is not None:
        return plan.text, plan.pick(row)
    args: list[object] = []
    evaluation: Evaluation | None = None
    for given, bound, default, value, process in plan.steps:
        if given is not None:
            value = row[given]  # noqa: PLW2901 - the cheapest way: this runs once per value
        elif bound is not None:
            value = binds[bound].effective_value  # noqa: PLW2901 - as above
        elif default is not None:
            evaluation = evaluation or Evaluation(plan, row, binds)
            value = default(evaluation)  # noqa: PLW2901 - as above
        args.append(value if process is None else process(value))
    if plan.expanding is None:
        return plan.text, args
    return _expanded(plan, args)


def _pick(steps: Sequence[Step]) -> Callable[[Any], tuple[Any, ...]] | None:
    """How to take all values of a row at once, or None where one of them is not simply given."""
    names = [step.given for step in steps if step.given is not None and step.process is None]
    if not names or len(names) != len(steps):
        return None
    if len(names) > 1:
        return itemgetter(*names)
    only = names[0]
    return lambda row: (row[only],)


def _value(step: Step, row: Row, binds: Sequence[Any], evaluation: Evaluation) -> Any:  # noqa: ANN401 - a column's
    if step.given is not None:
        return row[step.given]
    if step.bound is not None:
        return binds[step.bound].effective_value
    return step.value if step.default is None else step.default(evaluation)


def _expanded(plan: Plan, values: Sequence[object]) -> Write:
    """The text and values of a statement that holds lists."""
    compiled = plan.expanding
    state = compiled.construct_expanded_state(dict(zip(plan.names, values, strict=True)), escape_names=False)
    processors = {**compiled._bind_processors, **state.processors}  # noqa: SLF001 - as in _compiled
    args: list[object] = []
    for name in state.positiontup:
        process, value = processors.get(name), state.parameters[name]
        args.append(value if process is None else process(value))
    return state.statement, args


def _step(value: object, default: Callable[[Any], Any] | None, process: Callable[[Any], Any] | None) -> Step:
    if type(value) is _Mark:
        return Step(given=value.given, bound=value.bound, process=process)
    return Step(default=default, value=value, process=process)


def _defaults_of(compiled: Any) -> dict[str, Callable[[Any], Any]]:  # noqa: ANN401 - SQLAlchemy's, untyped
    """The defaults of Python that a statement needs, by the name of their parameter."""
    if not compiled.insert_prefetch and not compiled.update_prefetch:
        return {}
    key_of = compiled._within_exec_param_key_getter  # noqa: SLF001 - how SQLAlchemy names them when it executes
    inserted = {key_of(column): column.default for column in compiled.insert_prefetch}
    updated = {key_of(column): column.onupdate for column in compiled.update_prefetch}
    return {name: evaluated(default) for name, default in (inserted | updated).items()}


def evaluated(default: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - SQLAlchemy's, untyped
    """A column's default as a function of its evaluation. Raises WiringError for one that only a database knows."""
    if default.is_callable:
        function: Callable[[Any], Any] = default.arg
        return function
    if default.is_scalar:
        value = default.arg
        return lambda _: value
    raise WiringError(
        f"the default of column {default.column} is an SQL expression that has to be run before the INSERT, and a "
        "record never asks the database. Give the value, or make it a server_default."
    )


def _dialects(name: str) -> tuple[Any, ...]:
    """The dialect to compile with first, and the one for what is more than an INSERT of placeholders."""
    if name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return (sqlite.dialect(paramstyle="numeric_dollar"),)
    if name == "postgresql":
        from sqlalchemy.dialects.postgresql import asyncpg

        without_casts, with_casts = asyncpg.dialect(), asyncpg.dialect()  # type: ignore[no-untyped-call]
        without_casts.statement_compiler = _without_casts(without_casts.statement_compiler)
        return without_casts, with_casts
    raise WiringError(f"no SQLAlchemy dialect is known for a {name} database. Write SQL text: ctx.write('INSERT …')")


def _without_casts(compiler: type[Any]) -> type[Any]:
    def render_bind_cast(_compiler: object, _type: object, _dbapi_type: object, sqltext: str) -> str:
        return sqltext

    return type("CompilerWithoutCasts", (compiler,), {"render_bind_cast": render_bind_cast})


def _key_of(statement: Any) -> Any:  # noqa: ANN401 - SQLAlchemy is optional
    """The cache key of a statement, remembered by it. Raises WiringError for what is no statement."""
    try:
        return statement._generate_cache_key()  # noqa: SLF001 - what every Engine of SQLAlchemy does
    except AttributeError:
        pass
    raise WiringError(
        f"ctx.write() takes SQL text, or SQLAlchemy's insert(), update() or delete(); a {type(statement).__name__} "
        "was given. For an object of a mapped class, write ctx.add(it)."
    )


def _columns_of(statement: Any) -> dict[str, str] | None:  # noqa: ANN401 - as above
    """The column of each attribute, where a statement is about a mapped class."""
    subject = getattr(statement, "_propagate_attrs", {}).get("plugin_subject")
    return None if subject is None else {each.key: each.columns[0].key for each in subject.column_attrs}


def _check(statement: Any, given: tuple[str, ...], *, is_mapped: bool) -> None:  # noqa: ANN401 - as above
    """Raise WiringError for a statement that cannot be recorded."""
    from sqlalchemy import TextClause, Update
    from sqlalchemy.sql.dml import UpdateBase

    if not isinstance(statement, UpdateBase | TextClause):
        raise WiringError(
            f"ctx.write() cannot record a {type(statement).__name__}: it would run later, and nobody could read its "
            "rows. Read with tx.session in an on_tx() or handle_tx() handler."
        )
    if isinstance(statement, UpdateBase) and statement.returning_column_descriptions:
        raise WiringError(
            "ctx.write() cannot record RETURNING: it runs after the handler returned, and nobody could read its rows. "
            "Leave it out, or run the statement with tx.session in an on_tx() or handle_tx() handler."
        )
    if is_mapped and given and isinstance(statement, Update) and statement.whereclause is None:
        raise WiringError(
            "ctx.write(update(…), {…}) of a mapped class without where() would be an update by primary key, which "
            'only a Session can run. Write update(…).where(… == bindparam("its_id")), and give its_id.'
        )


def _check_used(statement: Any, given: tuple[str, ...], values: Any) -> None:  # noqa: ANN401 - as above
    used = {value.given for value in values if type(value) is _Mark}
    unknown = [name for name in given if name not in used]
    if unknown:
        raise WiringError(f"no column and no parameter is named {', '.join(unknown)} in: {statement}")


def _checked(row: object) -> Row:
    if isinstance(row, Mapping):
        return row  # pyright: ignore[reportUnknownVariableType] - what it holds is the user's
    raise WiringError(
        f"ctx.write() takes a mapping of names to values for each row of a statement, {{'id': 1, …}}; a "
        f"{type(row).__name__} was given."
    )
