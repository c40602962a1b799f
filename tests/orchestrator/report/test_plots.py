import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from orchestrator.report.front_plot import FrontPlot, Point
from orchestrator.report.label_places import Label, place_labels
from orchestrator.report.plots import _front_figure, front_png


def front_plot(gap, accuracy, front=(0,), roles=None, fair_lambda=2.0, **others):
    ids = tuple(f"t{n:03d}" for n in range(len(gap)))
    return FrontPlot(
        trial_ids=ids,
        mean_accuracy=np.array(accuracy, dtype=float),
        gap=np.array(gap, dtype=float),
        front=tuple(ids[n] for n in front),
        roles={role: ids[n] for role, n in (roles or {"best": 0}).items()},
        fair_lambda=fair_lambda,
        whiskers=((0.0, 0.05), (0.8, 0.99)),
        **others,
    )


def marks(plot):
    (axes,) = _front_figure(plot, (6, 4)).axes
    return [line for line in axes.lines if (line.get_gid() or "").startswith("trial-")]


@pytest.mark.parametrize("fair_lambda", [0.0, 1.0, 2.0, 50.0])
@pytest.mark.parametrize(
    ("gap", "accuracy"),
    [([0.0], [1.0]), ([0.1], [0.9]), ([0.02, 0.02], [0.9, 0.9]), ([0.5, 0.0], [0.5, 1.0])],
)
def test_few_or_extreme_trials_can_be_drawn(gap, accuracy, fair_lambda):
    plot = front_plot(gap, accuracy, front=(len(gap) - 1,), fair_lambda=fair_lambda)
    assert front_png(plot).startswith(b"\x89PNG")
    assert len(marks(plot)) == len(gap)


def test_a_far_off_trial_does_not_squeeze_the_others():
    rng = np.random.default_rng(0)
    gap, accuracy = rng.uniform(0.02, 0.05, 30), rng.uniform(0.90, 0.92, 30)
    gap[7], accuracy[7] = 0.5, 0.4
    plot = front_plot(gap, accuracy)
    (axes,) = _front_figure(plot, (6, 4)).axes
    assert axes.get_xlim()[1] < 0.06
    assert axes.get_ylim()[0] > 0.89
    assert "1 far off, at the edge" in [text.get_text() for text in axes.texts]


def test_a_far_off_trial_with_a_role_is_shown_in_its_place():
    gap, accuracy = [0.02, 0.021, 0.022, 0.023, 0.024, 0.4], [0.9] * 5 + [0.6]
    (axes,) = _front_figure(front_plot(gap, accuracy, roles={"best": 0, "plain": 5}), (6, 4)).axes
    assert axes.get_xlim()[1] > 0.4
    assert axes.get_ylim()[0] < 0.6


def test_iso_lines_are_of_one_fair_metric():
    plot = front_plot([0.01, 0.08], [0.90, 0.94], front=(0, 1), fair_lambda=1.5)
    (axes,) = _front_figure(plot, (6, 4)).axes
    lines = [line for line in axes.lines if (line.get_gid() or "").startswith("iso-")]
    assert len(lines) >= 2
    for line in lines:
        level = float(line.get_gid().removeprefix("iso-"))
        assert line.get_ydata() - 1.5 * line.get_xdata() == pytest.approx([level, level])


def test_the_front_line_is_what_some_trial_reaches():
    plot = front_plot([0.01, 0.03, 0.05], [0.90, 0.92, 0.93], front=(0, 1, 2))
    (axes,) = _front_figure(plot, (6, 4)).axes
    (line,) = [line for line in axes.lines if line.get_gid() == "front-line"]
    x, y = line.get_data()
    for gap, reached in ((0.02, 0.90), (0.04, 0.92), (0.0505, 0.93)):
        left = np.flatnonzero(x <= gap)[-1]
        assert y[left] == reached


def test_fronts_at_other_thresholds_are_drawn_and_named():
    shared = (Point("t000", 0.01, 0.91), Point("t001", 0.03, 0.94))
    plot = front_plot(
        [0.01, 0.03], [0.90, 0.92], front=(0, 1), shared=shared,
        by_gender=(Point("t001", 0.0, 0.93),),
    )  # fmt: skip
    (axes,) = _front_figure(plot, (6, 4)).axes
    lines = {line.get_gid(): line for line in axes.lines}
    x, y = lines["front-shared"].get_data()
    assert y[np.flatnonzero(x <= 0.02)[-1]] == 0.91
    assert lines["front-by-gender"].get_linestyle() != "-"
    assert axes.get_ylim()[1] > 0.94
    assert axes.get_xlim()[0] == 0
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "at the best shared threshold" in named
    assert "by gender: needs the gender when predicting" in named
    assert len(marks(plot)) == 2


def test_only_what_is_drawn_is_named():
    (axes,) = _front_figure(front_plot([0.02], [0.9]), (6, 4)).axes
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    assert named == ["front at threshold 0.5", "95% intervals of best", "equal fair metric"]


def test_confirmed_means_have_bars_that_stay_inside():
    point = Point("t000", 0.04, 0.88, sd=(0.03, 0.02))
    (axes,) = _front_figure(front_plot([0.02], [0.9], confirmed=(point,)), (6, 4)).axes
    (mark,) = [line for line in axes.lines if line.get_gid() == "confirmed-t000"]
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (0.04, 0.88)
    assert axes.get_xlim()[1] > 0.07
    assert axes.get_ylim()[0] < 0.86
    assert "retrained, ± standard error" in [t.get_text() for t in axes.get_legend().get_texts()]


def test_labels_do_not_overlap_and_keep_off_the_points():
    rng = np.random.default_rng(1)
    figure = Figure(figsize=(8, 6))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    points = rng.uniform(0.1, 0.9, (14, 2))
    points[1] = points[0] + 0.002  # as good as in one place
    labels = [Label(f"trial {n}", tuple(point), "black") for n, point in enumerate(points)]
    place_labels(axes, labels, points, np.array([[0.0, 0.0], [1.0, 0.0]]))
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    marks = axes.transData.transform(points)
    assert len(boxes) == len(labels)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
        assert not np.any(np.all((marks > box.min) & (marks < box.max), axis=1))
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1


def test_an_optional_label_without_room_is_left_out():
    figure = Figure(figsize=(2, 2))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    long = "a label wider than the plot"
    labels = [Label(long, (0.5, 0.5), "black", optional=True)]
    place_labels(axes, labels, np.array([[0.5, 0.5]]), np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert long not in [text.get_text() for text in axes.texts]
