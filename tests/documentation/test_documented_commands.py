"""A page whose commands do not do what it says is found out."""

from __future__ import annotations

import pytest

from tests.support.documented_commands import Step, reader, steps_of

PAGE = """\
# A page

<!-- run -->
```bash
echo one
```

<!-- shows: one, o -->
```text
one
```

```bash
exit 1      # no marker: prose
```

=== "Tab"

    <!-- run: python -->
    ```python
    for number in (1, 2):
        print(number)
    ```

<!-- run: in the background -->
```bash
sleep 60
```
"""


def test_the_marked_blocks_of_a_page_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert steps_of(page) == [
        Step(3, "", "echo one\n", ("one", "o")),
        Step(19, "python", "for number in (1, 2):\n    print(number)\n", ()),
        Step(25, "in the background", "sleep 60\n", ()),
    ]


def test_a_marker_without_its_block_is_found_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- run -->\n\n```bash\ntrue\n```\n")
    with pytest.raises(AssertionError, match="no block follows"):
        steps_of(page)
    page.write_text("<!-- shows: one -->\n")
    with pytest.raises(AssertionError, match="nothing has run"):
        steps_of(page)


def test_what_fails_or_shows_something_else_is_found_out(tmp_path):
    with reader(tmp_path / "reader") as reading:
        assert reading.follow(Step(1, "", "echo one\n", ("one",))) == "one\n"
        assert reading.follow(Step(1, "python", "print(1)\n", ("1",))) == "1\n"
        with pytest.raises(AssertionError, match="ended with 1"):
            reading.follow(Step(1, "", "false\necho one\n", ()))
        with pytest.raises(AssertionError, match="ended with 1"):
            reading.follow(Step(1, "", "false | true\n", ()))
        programs = [
            Step(1, "python", "one = 1\nprint(one)\n", ("1",)),
            Step(2, "python", "print('one' in globals())\n", ()),
        ]
        assert reading.follow_all(programs) == ["1\n", "False\n"]
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            reading.follow_all([*programs, Step(3, "python", "1 / 0\n", ())])
        with pytest.raises(AssertionError, match="'2' is not shown"):
            reading.follow_all([programs[0]._replace(shown=("2",)), programs[1]])
        with pytest.raises(AssertionError, match="'two' is not shown"):
            reading.follow(Step(1, "", "echo one\n", ("two",)))


def test_ports_are_its_own_everywhere(tmp_path):
    with reader(tmp_path / "reader") as reading:
        port, url = reading.follow(Step(1, "", 'echo 8102 "$RAFTBOOK_URL"\n', ())).split()
    assert port != "8102"
    assert not url.endswith(":8101")
    configuration = (tmp_path / "reader" / "local-3").read_text()
    assert "8102" not in configuration
    assert port in configuration


def test_a_background_process_that_ends_is_found_out_and_others_are_ended(tmp_path):
    with reader(tmp_path / "reader") as reading:
        reading.follow(Step(1, "in the background", "sleep 600\n", ()))
        reading.wait_until("true")
        reading.follow(Step(1, "in the background", "sh -c 'echo no such node >&2; exit 3'\n", ()))
        with pytest.raises(AssertionError, match="no such node"):
            reading.wait_until("false", deadline_s=20)
    assert [process.returncode for process in reading._background] == [-9, 3]
