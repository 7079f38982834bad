"""Parsing and policy never read a clock, a file or a socket: only the rooms with doors do I/O.

The rule of design.md, "Pure and impure are apart", read from the imports.
"""

from __future__ import annotations

import ast
import configparser
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pbs_watch"
MODULES = {
    str(path.relative_to(PACKAGE)).removesuffix(".py"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

PURE = {
    "chain",
    "drain",
    "durations",
    "errors",
    "escape",
    "health",
    "answer/asked",
    "answer/latency",
    "answer/conversation",
    "answer/lookup",
    "answer/socketmap",
    "answer/tcp_table",
    "answer/verdict",
    "answer/wire",
    "audit",
    "commands/display",
    "commands/reasons",
    "commands/state",
    "doctor/courier",
    "doctor/daemon",
    "doctor/finding",
    "doctor/host",
    "doctor/journal",
    "doctor/log",
    "doctor/map",
    "doctor/port",
    "doctor/postfix",
    "doctor/restrictions",
    "doctor/rotation",
    "doctor/services",
    "doctor/settings",
    "doctor/shared",
    "doctor/syslog",
    "doctor/tables",
    "exchange/authpfix",
    "exchange/formats",
    "exchange/jsonl",
    "exchange/jsonl_reader",
    "exchange/parcel",
    "exchange/popbsmtp",
    "exchange/relaying",
    "grants/acts",
    "grants/address",
    "grants/changes",
    "grants/events",
    "grants/joins",
    "grants/judge",
    "grants/orders",
    "grants/outbox",
    "grants/pending",
    "grants/policy",
    "grants/records",
    "grants/relays",
    "grants/rows",
    "grants/screens",
    "grants/upgrade",
    "log/clock",
    "log/cuts",
    "log/entry",
    "log/header",
    "log/lines",
    "log/position",
    "log/rotation",
    "selftest/line",
    "setup/restrictions",
    "setup/tcpdopts",
    "setup/toml",
    "shared/breaker",
    "shared/counts",
    "shared/engine",
    "shared/keep",
    "shared/rights",
    "shared/mysql_cf",
    "shared/redis_scripts",
    "shared/sql_authpfix",
    "shared/sql_own",
    "shared/sql_tables",
    *(name for name in MODULES if name.startswith("pattern/") and name != "pattern/library"),
}

HARMLESS = {
    "__future__",
    "ast",
    "base64",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "ipaddress",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "string",
    "struct",
    "types",
    "typing",
    "urllib.parse",
}
"""Of the standard library, what a pure module may import: nothing in it waits or looks around."""

EXCEPTIONS = {
    "doctor/courier": {"shlex"},
    "doctor/rotation": {"fnmatch.fnmatchcase", "pathlib.PurePosixPath"},
    "grants/address": {"socket.AF_INET", "socket.AF_INET6", "socket.inet_ntop", "socket.inet_pton"},
    "pattern/grammar": {"pyparsing"},
    "setup/toml": {"tomllib"},
}
"""Values and conversions of addresses and paths; shlex, pyparsing and tomllib, which work on text
alone."""

ONLY = {
    "lmdb": {
        "grants/environment",
        "grants/glance",
        "grants/store",
        "grants/tables",
        "grants/probe",
    },
    "pyparsing": {"pattern/grammar"},
    "watchdog": {"log/wake"},
    "select": {
        "answer/server",
        "answer/listen",
        "answer/listeners",
        "parallel",
        "speaking",
        "supervisor",
    },
    "selectors": {"answer/server", "answer/listen"},
    "socket": {
        "answer/client",
        "answer/server",
        "answer/listen",
        "answer/listeners",
        "doctor/ask",
        "exporter",
        "grants/address",
        "handover",
        "kernel",
        "service",
        "shared/hosts",
        "standin",
        "supervisor",
    },
    "prometheus_client": {"metrics"},
    "pymysql": {"shared/sql_connection", "shared/sql_link"},
    "redis": {"shared/redis_client", "shared/redis_engine"},
    "zstandard": {"log/decompress"},
    "threading": {
        "grants/writer",
        "log/wake",
        "answer/server",
        "exporter",
        "files",
        "reloads",
        "shared/asking",
        "shared/express",
        "shared/sending",
        "shared/sharing",
        "speaking",
        "waiting",
        "witness",
    },
}
"""Who may import what, function-level imports included."""

FOLLOWED = {
    "log/file",
    "log/follow",
    "log/journal",
    "log/packed",
    "log/places",
    "log/stream",
    "log/wake",
}
"""The modules of log/ that may touch followed logs; files are read in log/file and log/packed."""

REPLAYED = {"log/archive", "log/segments"}
"""Those that read files to be replayed; the daemon does not use them."""


def imports(path: Path) -> Iterator[str]:
    """Every import of a module, wherever it stands: ``lmdb``, ``socket.inet_pton``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(path: Path) -> set[str]:
    """The modules that are imported: ``pathlib`` for ``from pathlib import Path``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def test_the_walls_stand_around_modules_that_exist() -> None:
    named = PURE | FOLLOWED | REPLAYED | set(EXCEPTIONS) | set().union(*ONLY.values())
    assert named <= set(MODULES)
    assert len(PURE) > 25


def test_what_calls_itself_pure_is_walled() -> None:
    claims = {
        name
        for name, path in MODULES.items()
        if re.search(r"\bPure[.:]", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert claims - PURE == set()


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_nothing_that_does_io(name: str) -> None:
    allowed = EXCEPTIONS.get(name, set())
    for imported in imports(MODULES[name]):
        module = imported.rpartition(".")[0]
        if imported in allowed or imported in HARMLESS or module in HARMLESS:
            continue
        assert imported.startswith("pbs_watch."), f"pbs_watch/{name}.py imports {imported}"


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_knows_no_module_that_does_io_but_as_a_type(name: str) -> None:
    """It may be handed a map or a server; it makes none.  Imports inside functions count too."""
    handed_in = {
        # The lookup asks the map it was given, the round names the server's questions.
        "answer/lookup": {"grants/glance", "grants/store"},
        # The settings are judged as they were read.
        "doctor/settings": {"config"},
        # The acts are rows of tables that they are handed.
        "grants/acts": {"grants/tables"},
        # So are those of the outbox.
        "grants/outbox": {"grants/tables"},
        "drain": {"answer/server"},
    }.get(name, set())
    for imported in imports(MODULES[name]):
        whole = imported.removeprefix("pbs_watch.").replace(".", "/")
        # A module, or a name out of one.
        module = whole if whole in MODULES else whole.rpartition("/")[0]
        if imported.startswith("pbs_watch.") and module not in handed_in:
            assert module in PURE, f"pbs_watch/{name}.py: {imported}"


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_opens_no_file_and_asks_no_clock(name: str) -> None:
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}
        elif isinstance(node.func, ast.Attribute):
            owner = node.func.value
            about_time = isinstance(owner, ast.Name) and owner.id in {"datetime", "date", "time"}
            assert not (
                about_time and node.func.attr in {"now", "today", "utcnow", "time", "monotonic"}
            )


@pytest.mark.parametrize("library", sorted(ONLY))
def test_a_library_stays_in_its_room(library: str) -> None:
    users = {
        name
        for name, path in MODULES.items()
        if any(f"{imported}.".startswith(f"{library}.") for imported in imports(path))
    }
    assert users <= ONLY[library]


def test_only_the_rooms_of_followed_files_touch_the_file_system_in_log() -> None:
    touching = {
        "os",
        "os.path",
        "pathlib",
        "io",
        "stat",
        "shutil",
        "glob",
        "tempfile",
        "mmap",
        "fcntl",
    }
    users = {
        name
        for name, path in MODULES.items()
        if name.startswith("log/") and modules(path) & touching
    }
    assert users <= FOLLOWED | REPLAYED


def test_followed_files_are_read_in_one_module() -> None:
    users = set()
    for name, path in MODULES.items():
        calls = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        if calls & {"pread", "preadv", "readinto"}:
            users.add(name)
    assert users - REPLAYED == {"log/file"}
    for name in FOLLOWED | {"service"}:
        for module in modules(MODULES[name]):
            assert module.removeprefix("pbs_watch.").replace(".", "/") not in REPLAYED


def test_only_service_wires_following_answering_and_the_map_together() -> None:
    rooms = {"pbs_watch.reading", "pbs_watch.answer.server", "pbs_watch.grants.store"}
    users = {name for name, path in MODULES.items() if rooms <= modules(path)}
    assert users == {"service"}


def test_the_packages_that_are_installed_are_those_that_exist() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    existing = {
        ".".join(("pbs_watch", *path.parent.relative_to(PACKAGE).parts))
        for path in PACKAGE.rglob("__init__.py")
    }
    # The pattern files stand at the top of the repository and are installed as a package's data.
    assert listed == existing | {"pbs_watch.patterns"}
    assert list((ROOT / "patterns").glob("*.pattern"))
    assert "pbs_watch.patterns = *.pattern" in "\n".join(
        f"{name} = {value}" for name, value in setup["options.package_data"].items()
    )
    without = [path for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").exists()]
    assert not without


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_module_can_be_imported_alone(name: str) -> None:
    if name != "__main__":
        importlib.import_module(f"pbs_watch.{name.replace('/', '.')}".removesuffix(".__init__"))


def test_the_table_of_rooms_names_each_module() -> None:
    """Of design.md; a folder that stands there alone holds what its name says."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text.partition("| room | holds |\n")[2].partition("\n\n")[0]
    named: set[str] = set()
    for cell in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE):
        folder, colon, names = cell.partition("/`: ")
        inside = f"{folder.removeprefix('`')}/" if colon else ""
        for name in re.findall(r"`([^`]+)`", names if colon else cell):
            whole = [one for one in MODULES if name.endswith("/") and one.startswith(name)]
            named.update(whole or [inside + name])
    parts = {name for name in MODULES if not name.endswith(("__init__", "__main__"))}
    assert parts - named == set()
    assert {name for name in named if not name.endswith("__init__")} - parts == set()
