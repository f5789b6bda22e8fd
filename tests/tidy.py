"""The rules of this code that linters lack, as pure functions from a file to what is wrong with it.

`check_x(tree, path)` takes a parsed module and its path inside the repository; the `*_text` checks take the text.
Each returns findings that name the place and the replacement. tests/test_tidy.py runs them on every file, and each
one on a planted sample.
"""

from __future__ import annotations

import ast
import re
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FUNCTION_LINES_MAX = 70
FUNCTION_LINES_MEDIAN_MAX = 10
FUNCTION_LINES_P90_MAX = 30
FILE_LINES_MAX = 500
PARAMETERS_MAX = 5
INHERITANCE_DEPTH_MAX = 2
ADR_LINES_MAX = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef

CORE = "src/eventseam/"
CLOCK = ("clock.py",)
THREADS = ("threads.py", "demo/")
TASKS = ("delivery/tasks.py",)
COMMANDS = ("cli/", "demo/")

# What is named on the left lives only in the files on the right, below src/eventseam/; then the word to use instead.
HOMES: dict[str, tuple[tuple[str, ...], str]] = {
    "datetime.datetime.now": (CLOCK, "ask the Clock seam"),
    "datetime.datetime.today": (CLOCK, "ask the Clock seam"),
    "datetime.datetime.utcnow": (CLOCK, "ask the Clock seam"),
    "datetime.date.today": (CLOCK, "ask the Clock seam"),
    "time": (CLOCK, "ask the Clock seam"),
    "uuid.uuid1": (CLOCK, "ask the Ids seam"),
    "uuid.uuid4": (CLOCK, "ask the Ids seam"),
    "uuid.uuid6": (CLOCK, "ask the Ids seam"),
    "uuid.uuid7": (CLOCK, "ask the Ids seam"),
    "random": (CLOCK, "ask the Random seam"),
    "secrets": (CLOCK, "ask the Random seam"),
    "os.urandom": (CLOCK, "ask the Random seam"),
    "asyncio.create_task": (TASKS, "spawn through delivery/tasks.py or an asyncio.TaskGroup"),
    "asyncio.ensure_future": (TASKS, "spawn through delivery/tasks.py or an asyncio.TaskGroup"),
    "asyncio.run": (COMMANDS, "only a command owns the loop"),
    "asyncio.Runner": (COMMANDS, "only a command owns the loop"),
    "asyncio.run_coroutine_threadsafe": ((), "a thread that waits for the loop can deadlock: hand over by a queue"),
    "asyncio.to_thread": (THREADS, "use the pool of threads.py: the default one has no bound of ours"),
    "threading.Thread": (THREADS, "threads.py starts threads, so that a simulation can run them inline"),
    "concurrent.futures.ThreadPoolExecutor": (THREADS, "use the pool of threads.py"),
    "importlib.import_module": (("cli/", "__init__.py"), "no import by name outside the command line"),
    "pickle": ((), "the codec decodes into the declared type only"),
    "marshal": ((), "the codec decodes into the declared type only"),
    "eval": ((), "nothing from outside is code"),
    "exec": ((), "nothing from outside is code"),
}

# The core looks these up only when a user's class needs them.
OPTIONAL_PACKAGES = frozenset({"attr", "attrs", "pydantic", "sqlalchemy", "cloudevents"})

VAGUE_NAMES = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
MUTABLE_CALLS = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter", "ChainMap"}
    | {"WeakKeyDictionary", "WeakValueDictionary", "WeakSet"}
)
READ_ONLY_TYPES = re.compile(r"^(typing\.)?(Final|Mapping|Sequence|Collection|Set|AbstractSet|Iterable|TypeAlias)\b")
CONSTANT = re.compile(r"^_*[A-Z][A-Z0-9_]*$|^__\w+__$")

# Written in pieces, so that this file does not name them itself.
FOREIGN_FOLDER = re.compile("(^|[^a-z])shared" + "/[a-z]")
INDEX_HOSTS = re.compile("|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "npmjs" + r"\.", "index-" + "url")))
MACHINE_PATHS = re.compile("|".join("(^|[^a-z.~])/" + folder for folder in ("root/", "work/", "Users/", r"home/\w")))
FRAGMENT = re.compile(r"^[a-z0-9-]+\.(feature|fix|breaking|security|docs)\.md$|^README\.md$")


def functions(tree: ast.Module) -> Iterator[Function]:
    """Every function of a module, methods and nested functions included."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def lines_of(function: Function) -> int:
    """From `def` to the last line, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def check_function_lines(tree: ast.Module, path: str) -> list[str]:
    """No function is longer than a screen."""
    return [
        f"{path}:{f.lineno}: {f.name}() has {lines_of(f)} lines, at most {FUNCTION_LINES_MAX}: split it"
        for f in functions(tree)
        if lines_of(f) > FUNCTION_LINES_MAX
    ]


def check_file_lines_text(text: str, path: str) -> list[str]:
    """No file is longer than one sitting."""
    count = len(text.splitlines())
    return [f"{path}: {count} lines, at most {FILE_LINES_MAX}: split it by topic"] if count > FILE_LINES_MAX else []


def check_function_spread(trees: Mapping[str, ast.Module]) -> list[str]:
    """Most functions are small: median and ninth decile over all given modules."""
    lengths = sorted(lines_of(f) for tree in trees.values() for f in functions(tree))
    if len(lengths) < 2:
        return []
    found = []
    if median(lengths) > FUNCTION_LINES_MEDIAN_MAX:
        found.append(f"median function has {median(lengths)} lines, at most {FUNCTION_LINES_MEDIAN_MAX}")
    if (p90 := quantiles(lengths, n=10)[-1]) > FUNCTION_LINES_P90_MAX:
        found.append(f"one function in ten has {p90:.0f} lines or more, at most {FUNCTION_LINES_P90_MAX}")
    return found


def check_parameters(tree: ast.Module, path: str) -> list[str]:
    """More than five parameters are an options dataclass (`self`, `*args` and `**kwargs` do not count)."""
    found = []
    for f in functions(tree):
        names = [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > PARAMETERS_MAX:
            found.append(f"{path}:{f.lineno}: {f.name}() has {count} parameters, at most {PARAMETERS_MAX}: group them")
    return found


def check_module_docstring(tree: ast.Module, path: str) -> list[str]:
    """A module says what it decides and what it refuses."""
    return [] if not tree.body or ast.get_docstring(tree) else [f"{path}: no module docstring"]


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> dotted name, for every import of the module."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _dotted(node: ast.expr, names: Mapping[str, str]) -> str:
    """`dt.now` as `datetime.datetime.now`, or "" where it does not begin with an imported or builtin name."""
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id if node.id in {"eval", "exec"} else "")
    return ""


def _home_of(name: str) -> tuple[tuple[str, ...], str] | None:
    """The home of `time.monotonic` is that of `time`, if it has none of its own."""
    while name:
        if name in HOMES:
            return HOMES[name]
        name = name.rpartition(".")[0]
    return None


def _spawns_on_a_loop(node: ast.AST) -> bool:
    """`loop.create_task(...)`, by whatever loop: a TaskGroup's create_task is fine."""
    match node:
        case ast.Attribute(attr="create_task", value=ast.Call(func=ast.Attribute(attr=owner) | ast.Name(id=owner))):
            return owner.endswith("_loop")
        case ast.Attribute(attr="create_task", value=ast.Attribute(attr=owner) | ast.Name(id=owner)):
            return owner.endswith("loop") or owner == "asyncio"
    return False


def _uses(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported from elsewhere that the module touches."""
    names = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{a.name}") for a in node.names)
        elif _spawns_on_a_loop(node):
            yield node.lineno, "asyncio.create_task"
        elif isinstance(node, ast.Attribute | ast.Name) and (name := _dotted(node, names)):
            yield node.lineno, name


def check_homes(tree: ast.Module, path: str) -> list[str]:
    """Time, ids, chance, tasks and loops come from one place each, so that a simulation can own them."""
    inside = path.removeprefix(CORE)
    found: dict[int, str] = {}  # by line: of `time` and `time.time`, say the longer
    for line, name in _uses(tree):
        home = _home_of(name)
        if home and not inside.startswith(home[0]):
            found[line] = max(found.get(line, ""), f"{path}:{line}: {name}: {home[1]}", key=len)
    return [found[line] for line in sorted(found)]


def check_bare_except(tree: ast.Module, path: str) -> list[str]:
    """A bare except swallows cancellation and Ctrl-C."""
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))
    return [f"{path}:{h.lineno}: bare except: name what is expected" for h in handlers if h.type is None]


def _is_mutable(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call):
        name = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return name in MUTABLE_CALLS
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp)


def _starts_empty(value: ast.expr | None) -> bool:
    match value:
        case ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Call(args=[]):
            return True
    return False


def check_module_state(tree: ast.Module, path: str) -> list[str]:
    """A module holds constants, not state: a table is UPPER_CASE or of a read-only type, and never starts empty."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not _is_mutable(node.value):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = target.id if isinstance(target, ast.Name) else ""
        read_only = isinstance(node, ast.AnnAssign) and READ_ONLY_TYPES.match(ast.unparse(node.annotation))
        if _starts_empty(node.value) or not (CONSTANT.match(name) or read_only):
            found.append(f"{path}:{node.lineno}: {name} is module-level state: give it an owner, or make it a constant")
    return found


def check_optional_imports(tree: ast.Module, path: str) -> list[str]:
    """Packages that a user may not have are imported inside functions (or for type checkers only)."""
    found = []
    for node in tree.body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        found += [
            f"{path}:{node.lineno}: {name} is optional: import it where it is needed"
            for name in names
            if name.split(".")[0] in OPTIONAL_PACKAGES
        ]
    return found


def check_file_name(path: str) -> list[str]:
    """A file is named after what it is about."""
    parts = re.split(r"[/.]", path)
    return [f"{path}: '{part}' says nothing: name it after its topic" for part in parts if part in VAGUE_NAMES]


def _bases(tree: ast.Module) -> dict[str, list[str]]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    return {c.name: [ast.unparse(b).partition("[")[0].rpartition(".")[2] for b in c.bases] for c in classes}


def check_inheritance(trees: Mapping[str, ast.Module]) -> list[str]:
    """No class of ours has more than two generations of ours above it."""
    bases: dict[str, list[str]] = {}
    for tree in trees.values():
        for name, above in _bases(tree).items():
            bases[name] = bases.get(name, []) + [base for base in above if base != name]

    def depth(name: str, seen: frozenset[str]) -> int:
        ours = [base for base in bases[name] if base in bases and base not in seen]
        return max((1 + depth(base, seen | {base}) for base in ours), default=0)

    deep = {name: depth(name, frozenset({name})) for name in sorted(bases)}
    return [
        f"class {name} has {n} generations above it, at most {INHERITANCE_DEPTH_MAX}"
        for name, n in deep.items()
        if n > INHERITANCE_DEPTH_MAX
    ]


def _lines_with(pattern: re.Pattern[str], text: str) -> Iterable[int]:
    return (number for number, line in enumerate(text.splitlines(), 1) if pattern.search(line))


def check_foreign_paths_text(text: str, path: str) -> list[str]:
    """The repository stands alone: only .ci/run may name a folder beside it."""
    if path == ".ci/run":
        return []
    return [f"{path}:{n}: names a folder outside the repository" for n in _lines_with(FOREIGN_FOLDER, text)]


def check_hosts_text(text: str, path: str) -> list[str]:
    """No package-index host and no path of somebody's machine."""
    found = [f"{path}:{n}: names a host of a package index" for n in _lines_with(INDEX_HOSTS, text)]
    return found + [f"{path}:{n}: names a path of one machine" for n in _lines_with(MACHINE_PATHS, text)]


def check_adr_lines_text(text: str, path: str) -> list[str]:
    """A decision fits on one screen."""
    count = len(text.splitlines())
    long = path.startswith("docs/adr/") and count > ADR_LINES_MAX
    return [f"{path}: {count} lines, at most {ADR_LINES_MAX}: keep the decision, drop the rest"] if long else []


def check_fragment_name(path: str) -> list[str]:
    """A changelog fragment is `changes/<id>.<type>.md`."""
    folder, _, name = path.rpartition("/")
    wrong = folder == "changes" and not FRAGMENT.match(name)
    return [f"{path}: not <id>.<type>.md as changes/README.md says"] if wrong else []
