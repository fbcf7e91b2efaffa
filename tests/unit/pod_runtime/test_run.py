from __future__ import annotations

from pod_runtime.run import leaves


def test_the_errors_of_nested_groups_come_out_one_by_one() -> None:
    first, second, third = OSError("a"), KeyError("b"), ValueError("c")
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [first, second]), third])
    assert list(leaves(group)) == [first, second, third]


def test_an_error_that_is_no_group_is_alone() -> None:
    error = OSError("a")
    assert list(leaves(error)) == [error]
