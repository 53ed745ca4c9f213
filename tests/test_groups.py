"""A group of inputs fails for each input that fails, with its name."""

import pytest

from tests.groups import failing


def test_each_failing_input_is_named_and_none_hides_another() -> None:
    def is_rejected(text: str) -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            int(text)

    assert failing(["a", "1", "b", "2"], is_rejected) == {
        f"'{number}'": "Failed: DID NOT RAISE ValueError" for number in (1, 2)
    }


def test_an_assertion_and_an_error_are_failures() -> None:
    def is_positive(number: int) -> None:
        assert 1 / number > 0, "negative"

    found = failing([1, -1, 0], is_positive, name=lambda number: f"the number {number}")

    assert [*found] == ["the number -1", "the number 0"]
    assert found["the number -1"].startswith("AssertionError: negative")
    assert found["the number 0"].startswith("ZeroDivisionError")
