from __future__ import annotations

from pathlib import Path

import pytest

from tools.shape import Figure, callable_aliases, callables, docstrings, figures, is_clause, modules, shared_class_names

FIRST = '''"""Where orders are kept."""

# Written before it is applied: a crash between the two loses nothing.
Emit = Callable[[str], None]


class Store:
    """The orders of an account."""

    def __init__(self, emit: Emit, clock: Callable[[], int], name: str) -> None:
        self.emit = emit  # noqa: X1
'''
SECOND = '''class Store:
    """Whether it holds."""
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (("broker/first.py", FIRST), ("sidecar/rooms/second.py", SECOND), ("broker/__init__.py", "")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def figure(root: Path, name: str) -> Figure:
    (found,) = (item for item in figures(root) if item.name == name)
    return found


@pytest.mark.parametrize("text", ["Whether it is so.", "What the API calls.", "`How` it goes."])
def test_a_docstring_that_begins_with_a_clause_is_told(text: str) -> None:
    assert is_clause(text)


@pytest.mark.parametrize("text", ["Places an order.", "The whereabouts of a file.", ""])
def test_a_docstring_that_begins_with_a_noun_or_verb_is_none(text: str) -> None:
    assert not is_clause(text)


def test_docstrings_of_modules_classes_and_functions_count(root: Path) -> None:
    found = [text for module in modules(root) for text in docstrings(module)]
    assert found == ["Where orders are kept.", "The orders of an account.", "Whether it holds."]


def test_callables_of_constructors_are_found_by_their_aliases_too(root: Path) -> None:
    found = modules(root)
    aliases = callable_aliases(found)
    assert [name.rpartition(".")[2] for module in found for name in callables(module, aliases)] == ["emit", "clock"]


def test_a_class_name_of_two_modules_is_told_with_both(root: Path) -> None:
    assert shared_class_names(modules(root)) == {"Store": ["broker/first.py", "sidecar/rooms/second.py"]}


def test_package_files_are_neither_small_nor_of_a_folder(root: Path) -> None:
    assert figure(root, "files below 50 lines").value == 2
    assert figure(root, "files in the fullest folder").value == 1


def test_a_suppression_alone_is_no_comment(root: Path) -> None:
    assert figure(root, "comment lines").value == pytest.approx(100 / 13)


def test_a_share_that_has_to_be_reached_holds_above_its_goal() -> None:
    assert Figure(name="", value=3.5, goal=3, at_least=True).holds
    assert not Figure(name="", value=3.5, goal=3).holds
