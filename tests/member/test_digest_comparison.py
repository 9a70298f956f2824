"""Whose state is right is a question of majority, and nobody is judged at an index that he has not reached."""

from __future__ import annotations

from raftbook.member.digest_comparison import Claim, Difference, DigestComparison

OWN = {index: f"own-{index}" for index in range(100, 201)}


def heard(comparison: DigestComparison, peer: str, index: int, digest: str | None = None) -> list[Difference]:
    comparison.claimed(peer, Claim(index, OWN[index] if digest is None else digest))
    return comparison.review(200, OWN.get)


def test_peers_that_agree_raise_the_index_of_a_majority():
    comparison = DigestComparison(5)
    assert comparison.agreed_index(200) == 0
    assert heard(comparison, "b", 150) == []
    assert comparison.agreed_index(200) == 0
    heard(comparison, "c", 120)
    assert comparison.agreed_index(200) == 120
    heard(comparison, "d", 180)
    assert comparison.agreed_index(200) == 150
    heard(comparison, "d", 130)
    assert comparison.agreed_index(200) == 150
    assert comparison.differences == []


def test_a_member_alone_agrees_with_itself():
    assert DigestComparison(1).agreed_index(17) == 17


def test_one_of_three_that_differs_is_the_others_affair():
    comparison = DigestComparison(3)
    assert heard(comparison, "b", 150, "other") == [Difference("b", 150, "own-150", "other")]
    assert not comparison.is_outvoted
    assert heard(comparison, "b", 160, "other") == []


def test_a_member_from_which_most_differ_is_outvoted():
    comparison = DigestComparison(3)
    heard(comparison, "c", 150, "other")
    heard(comparison, "b", 140, "other")
    assert comparison.is_outvoted
    assert [difference.peer for difference in comparison.differences] == ["b", "c"]

    of_five = DigestComparison(5)
    heard(of_five, "b", 150, "other")
    heard(of_five, "c", 150, "other")
    assert not of_five.is_outvoted
    heard(of_five, "d", 150, "other")
    assert of_five.is_outvoted


def test_a_claim_about_a_later_index_waits_until_that_is_reached_and_is_not_replaced():
    comparison = DigestComparison(3)
    comparison.claimed("b", Claim(180, "other"))
    assert comparison.review(179, OWN.get) == []
    comparison.claimed("b", Claim(190, OWN[190]))
    assert [difference.log_index for difference in comparison.review(180, OWN.get)] == [180]


def test_a_claim_about_an_index_whose_digest_is_not_held_says_nothing():
    comparison = DigestComparison(3)
    assert heard(comparison, "b", 50, "other") == []
    assert comparison.agreed_index(200) == 0
    assert heard(comparison, "b", 150) == []
    assert comparison.agreed_index(200) == 150


def test_a_peer_without_a_digest_claims_nothing():
    comparison = DigestComparison(3)
    assert heard(comparison, "b", 150, "") == []
    assert comparison.agreed_index(200) == 0


def test_a_peer_that_was_gone_is_judged_anew():
    comparison = DigestComparison(3)
    heard(comparison, "b", 150, "other")
    heard(comparison, "c", 150)
    comparison.forget("b")
    comparison.forget("c")
    assert comparison.differences == []
    assert comparison.agreed_index(200) == 0
    heard(comparison, "b", 160)
    assert comparison.agreed_index(200) == 160
