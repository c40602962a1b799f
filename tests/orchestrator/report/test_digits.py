import pytest

from orchestrator.report.digits import change, decimals, figure, limits


@pytest.mark.parametrize(
    ("half", "places"),
    [(0.2, 2), (0.045, 2), (0.03, 3), (0.0123, 3), (0.008, 3), (0.0012, 4), (1e-9, 4), (0, 4)],
)
def test_a_figure_has_as_many_digits_as_its_error_allows(half, places):
    assert decimals(half) == places


def test_figures_and_their_limits_have_the_same_digits():
    interval = [0.897, 0.9163]
    assert figure(0.90651, interval) == "0.907"
    assert limits(interval) == "0.897 to 0.916"
    assert figure(None, None) == limits(None) == ""


def test_a_change_has_a_sign_but_0_has_no_minus():
    assert change(-0.0123, [-0.02, -0.004]) == "−0.012"
    assert limits([-0.02, 0.004], "+") == "−0.020 to +0.004"
    assert change(-0.0001, [-0.05, 0.05]) == "+0.00"
