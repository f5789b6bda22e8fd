"""Objects of mapped classes as records: `ctx.add(order)` is the INSERT that a Session would write, without a Session.

Only columns are recorded. Refused with the fix: what a flush would have to follow or ask the database for (related
objects, SQL expressions as values, listeners of the mapper, a key that the server makes for a joined table).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from eventseam.app.recorded import SHAPES_MAX, Plan, evaluated, written
from eventseam.errors import WiringError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventseam.app.recorded import Statements, Write

_GIVEN = frozenset({str, int, float, bool, bytes, Decimal, UUID, datetime, date, time, timedelta})
"""Types of values that are neither None nor SQL expressions."""

_PLAIN = _GIVEN | {type(None)}


class _Attribute(NamedTuple):
    """A mapped column attribute. `always`: without a value it is NULL in the row; else it is left to the server."""

    key: str
    columns: tuple[tuple[int, str], ...]
    """In which tables (by number) it is which column."""
    default: Callable[[Any], Any] | None
    always: bool
    keeps_none: bool


class _Shape(NamedTuple):
    """What is known of a mapped class."""

    attributes: tuple[_Attribute, ...]
    relations: tuple[str, ...]
    inserts: tuple[Any, ...]
    keys: tuple[tuple[str, ...], ...]
    """Of each table after the first: the key columns that its row must have."""


class _Whole(NamedTuple):
    """The INSERT of objects that need no default: their values are taken at once."""

    text: str
    pick: Callable[[Any], tuple[Any, ...]]
    processes: tuple[Callable[[Any], Any] | None, ...] | None


class _Defaults:
    """What a default that takes a context may ask."""

    __slots__ = ("current_parameters",)

    def __init__(self, current_parameters: Mapping[str, Any]) -> None:
        self.current_parameters = current_parameters

    def get_current_parameters(self, *, isolate_multiinsert_groups: bool = True) -> Mapping[str, Any]:  # noqa: ARG002 - SQLAlchemy's
        return self.current_parameters


class Objects:
    """What is known of mapped classes, for one dialect. Usable from every thread."""

    def __init__(self, statements: Statements) -> None:
        """Compile with `statements`."""
        from sqlalchemy.orm.attributes import instance_state

        self._state_of: Callable[[object], Any] = instance_state
        self._statements = statements
        self._shapes: dict[type, _Shape] = {}
        self._plans: dict[object, Plan] = {}
        self._wholes: dict[object, _Whole | None] = {}

    def writes(self, instance: object) -> list[Write]:
        """The INSERT of a new object, one per table of its class, in the order that foreign keys ask for.

        Defaults of Python are evaluated now and set on the object, as a flush does. Raises WiringError for what only
        a Session can do.
        """
        try:
            state = self._state_of(instance)
        except AttributeError:
            raise _unmapped(instance) from None
        cls, values = type(instance), instance.__dict__
        if (state.key is not None or state.session_id is not None) and not state.transient:
            raise _attached(cls)
        known = (cls, *values)
        whole = self._wholes.get(known)
        if whole is not None:
            taken = whole.pick(values)
            if _GIVEN.issuperset(map(type, taken)):
                return [(whole.text, taken if whole.processes is None else _processed(taken, whole.processes))]
        shape = self._shapes.get(cls)
        if shape is None:
            shape = self._shapes[cls] = _shape(state.mapper)
        if known not in self._wholes:
            self._learn(known, shape, frozenset(values))
        rows = _rows(instance, values, shape)
        plans = [self._plan(shape, cls, number, row) for number, row in enumerate(rows)]
        return [written(plan, row, ()) for plan, row in zip(plans, rows, strict=True)]

    def _learn(self, known: tuple[Any, ...], shape: _Shape, names: frozenset[str]) -> None:
        """Remember whether objects with these attributes set may be taken at once."""
        if len(self._wholes) >= SHAPES_MAX:
            self._wholes.clear()
        self._wholes[known] = self._whole(shape, names)

    def _whole(self, shape: _Shape, names: frozenset[str]) -> _Whole | None:
        left = [each for each in shape.attributes if each.key not in names]
        if len(shape.inserts) != 1 or names & set(shape.relations) or any(each.default or each.always for each in left):
            return None
        attributes = {each.columns[0][1]: each.key for each in shape.attributes if each.key in names}
        insert = shape.inserts[0]
        plan = self._statements.plan(insert, insert._generate_cache_key(), attributes)  # noqa: SLF001 - as in recorded
        keys = [attributes[step.given] for step in plan.steps if step.given is not None]
        if len(keys) != len(plan.steps) or len(keys) < 2:  # noqa: PLR2004 - one would be no tuple
            return None
        processes = tuple(step.process for step in plan.steps)
        return _Whole(plan.text, itemgetter(*keys), processes if any(processes) else None)

    def _plan(self, shape: _Shape, cls: type, number: int, row: Mapping[str, Any]) -> Plan:
        key = (cls, number, tuple(row))
        plan = self._plans.get(key)
        if plan is None:
            if number:
                _check_keys(cls, shape.keys[number - 1], row)
            insert = shape.inserts[number]
            if len(self._plans) >= SHAPES_MAX:
                self._plans.clear()
            plan = self._plans[key] = self._statements.plan(insert, insert._generate_cache_key(), row)  # noqa: SLF001 - as in recorded
        return plan


def _processed(values: Sequence[object], processes: Sequence[Callable[[Any], Any] | None]) -> list[object]:
    pairs = zip(values, processes, strict=True)
    return [value if process is None else process(value) for value, process in pairs]


def _attached(cls: type) -> WiringError:
    return WiringError(
        f"ctx.add() takes a new {cls.__name__}; this one belongs to a Session or came from one. Change rows with "
        "ctx.write(update(…)), or with tx.session in an on_tx() or handle_tx() handler."
    )


def _rows(instance: object, values: dict[str, Any], shape: _Shape) -> list[dict[str, Any]]:
    """The row of each table, by column. A default is set on the object too."""
    for relation in shape.relations:
        if values.get(relation) is not None:
            _check_relation(instance, relation, values[relation])
    rows: list[dict[str, Any]] = [{} for _ in shape.inserts]
    for key, columns, default, always, keeps_none in shape.attributes:
        value = values.get(key)
        if value is None:
            if default is not None and not (keeps_none and key in values):
                value = values[key] = default(_Defaults(rows[columns[0][0]]))
            elif not always and not (keeps_none and key in values):
                continue
        elif type(value) not in _PLAIN and _is_expression(value):
            raise WiringError(
                f"{type(instance).__name__}.{key} is an SQL expression. Write ctx.write(insert(…).values(…)) for it."
            )
        for number, column in columns:
            rows[number][column] = value
    return rows


def _shape(mapper: Any) -> _Shape:  # noqa: ANN401 - SQLAlchemy's, untyped
    from sqlalchemy import insert

    _check_mapper(mapper)
    tables: list[Any] = list(dict.fromkeys([each.local_table for each in mapper.iterate_to_root()][::-1]))
    places = {table: number for number, table in enumerate(tables)}
    attributes = [each for each in (_attribute(prop, places, mapper) for prop in mapper.column_attrs) if each]
    attributes.sort(key=lambda each: each.default is not None)  # a default may ask for the other values of its row
    keys = tuple(tuple(column.key for column in table.primary_key) for table in tables[1:])
    relations = tuple(relation.key for relation in mapper.relationships if not relation.viewonly)
    return _Shape(tuple(attributes), relations, tuple(insert(table) for table in tables), keys)


def _attribute(prop: Any, places: Mapping[Any, int], mapper: Any) -> _Attribute | None:  # noqa: ANN401 - as above
    """A column attribute, or None for what the server computes or another SQL expression stands for."""
    columns = [column for column in prop.columns if getattr(column, "table", None) in places and not column.computed]
    if not columns:
        return None
    default = next((evaluated(each.default) for each in columns if _is_of_python(each.default)), None)
    generate = mapper.version_id_generator
    if generate and any(column is mapper.version_id_col for column in columns):
        default = _first_version(generate)
    first = columns[0]
    keeps_none = bool(first.type.should_evaluate_none)
    left_out = first.primary_key or first.server_default or first.default or first.identity or keeps_none
    return _Attribute(
        prop.key, tuple((places[each.table], each.key) for each in columns), default, not left_out, keeps_none
    )


def _first_version(generate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda _: generate(None)


def _is_of_python(default: Any) -> bool:  # noqa: ANN401 - as above
    return default is not None and (default.is_scalar or default.is_callable)


def _check_mapper(mapper: Any) -> None:  # noqa: ANN401 - as above
    if mapper.local_table.__visit_name__ != "table":
        raise WiringError(f"{mapper.class_.__name__} is not mapped to a table, so it has no INSERT. Write SQL text.")
    for name in ("before_insert", "after_insert"):
        if getattr(mapper.dispatch, name):
            raise WiringError(
                f"{mapper.class_.__name__} has a listener for {name}, which only a Session calls. Use tx.session in an "
                "on_tx() or handle_tx() handler, or move what it does into a default."
            )


def _check_keys(cls: type, keys: Sequence[str], row: Mapping[str, Any]) -> None:
    missing = [key for key in keys if row.get(key) is None]
    if missing:
        raise WiringError(
            f"{cls.__name__} lies in several tables, and ctx.add() cannot ask the database for the key of the first: "
            f"give {', '.join(missing)} a value or a default of Python, or use tx.session."
        )


def _check_relation(instance: object, relation: str, value: Any) -> None:  # noqa: ANN401 - the user's
    if not hasattr(value, "__len__") or len(value):
        raise WiringError(
            f"{type(instance).__name__}.{relation} holds related objects, and ctx.add() records columns only. Set the "
            "foreign key column instead, and ctx.add() each object, or use tx.session in an on_tx() or handle_tx() "
            "handler."
        )


def _is_expression(value: Any) -> bool:  # noqa: ANN401 - the user's
    from sqlalchemy import ClauseElement

    return isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")


def _unmapped(instance: object) -> WiringError:
    name = type(instance).__name__
    if hasattr(instance, "_meta") and hasattr(instance, "_state"):
        return WiringError(
            f"ctx.add() takes objects of SQLAlchemy; {name} is a model of Django, whose save() needs a connection. "
            "Take tx: SyncTx in an on_tx() or handle_tx() handler, and write with tx.django(): it.save()"
        )
    return WiringError(f"ctx.add() takes an object of a class that SQLAlchemy maps; {name} is none.")
