"""A file that ends too early is not a keyboard interrupt: click takes EOFError for Ctrl-D at a prompt."""

import pytest

from job import __main__ as entry


@pytest.mark.parametrize(("error", "code"), [(EOFError("Ran out of input"), None), (KeyboardInterrupt(), 130)])
def test_only_an_interrupt_ends_in_130(monkeypatch, error, code):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("job.shards.inspection.inspect_shards.inspect_shards", fail)
    monkeypatch.setattr("sys.argv", ["job", "inspect", "shards"])
    if code is None:
        with pytest.raises(EOFError):
            entry.run()
    else:
        assert entry.run() == code
