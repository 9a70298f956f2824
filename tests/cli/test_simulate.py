"""`raftbook simulate` as its users run it."""

from __future__ import annotations

from pathlib import Path

BROKEN = ("--seed", "1", "--steps", "40", "--without", "promises wait for the disk")


def test_lives_are_added_up(raftbook):
    finished = raftbook("simulate", "--seed", "3", "--seeds", "4", "--steps", "20", "--output", "json")
    assert finished.exit_code == 0, finished.stderr
    summary = finished.json
    assert (summary["first_seed"], summary["lives"], summary["steps"]) == (3, 4, 20)
    assert summary["violations"] == []
    for counter in ("submissions", "executed", "entries", "messages", "checks", "virtual_hours"):
        assert summary[counter] > 0, counter
    assert sum(summary["faults"].values()) > 20
    assert summary["longest_convergence_s"] > 0


def test_the_same_seed_is_the_same_life_however_many_processes_there_are(raftbook):
    arguments = ("simulate", "--seed", "3", "--seeds", "4", "--steps", "20", "--output", "json", "--jobs")
    assert raftbook(*arguments, "1").json == raftbook(*arguments, "2", PYTHONHASHSEED="7").json


def test_a_table_for_people(raftbook):
    finished = raftbook("simulate", "--seeds", "2", "--steps", "10", "--output", "table")
    assert finished.exit_code == 0
    assert "violations" in finished.stdout
    assert "Seeds 1 to 2, 10 steps each." in finished.stdout


def test_a_story_tells_what_happens(raftbook):
    finished = raftbook("simulate", "--seed", "4", "--steps", "10", "--nodes", "3", "--story")
    assert finished.exit_code == 0
    assert "n1 connected to n2" in finished.stdout
    assert "AppendEntries" in finished.stdout
    assert "commands executed" in finished.stderr


def test_a_broken_promise_is_told_with_the_command_that_repeats_it(raftbook):
    finished = raftbook("simulate", *BROKEN, "--output", "json")
    assert finished.exit_code == 1
    (violation,) = finished.json["violations"]
    assert violation["seed"] == 1
    assert "only on the disks of" in violation["summary"]
    assert "`raftbook simulate --seed 1 --steps 40 --story`" in finished.stderr
    story = raftbook("simulate", *BROKEN, "--story")
    assert story.exit_code == 1
    assert "only on the disks of" in story.stderr


def test_wrong_usage_says_what_to_write(raftbook, tmp_path):
    for arguments, advice in (
        (("--story",), "name it with --seed"),
        (("--nodes", "99"), "1 to 9"),
        (("--seeds", "0"), "1 or more"),
        (("--without", "luck"), "promises wait for the disk"),
        (("--write", "FILE"), "--remedies"),
        (("--remedies", "--write", str(tmp_path / "none")), "a file with a table"),
        (("--remedies", "--write", str(Path(__file__))), "<!-- remedies -->"),
    ):
        finished = raftbook("simulate", *arguments)
        assert finished.exit_code == 2, arguments
        assert advice in " ".join(finished.stderr.split()), arguments
