"""Every command has an example for the fault tests."""

from fault_examples import EXAMPLES, NAMES


def test_every_command_has_an_example() -> None:
    assert EXAMPLES.keys() == set(NAMES)
