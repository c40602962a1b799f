import io

from fakes import SWEEP, make_run

from orchestrator.report.report import write_report
from orchestrator.report.tables import print_summary


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_verdict_is_wrapped_on_a_terminal_and_a_line_in_a_pipe(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")  # of which rich takes 80 columns
    summary = write_report(make_run(tmp_path / "run", SWEEP[:5], rows=300))
    terminal, pipe = Terminal(), io.StringIO()
    print_summary(summary, terminal)
    print_summary(summary, pipe)
    paragraph = summary["verdict"]["paragraph"]
    assert len(paragraph) > 100
    assert paragraph in pipe.getvalue().splitlines()
    lines = terminal.getvalue().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(paragraph[:20]))
    told = " ".join(line.rstrip() for line in lines[begin:])
    assert told == paragraph  # no word is broken
    assert max(map(len, lines)) <= 80
