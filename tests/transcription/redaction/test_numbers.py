"""Numbers in any clothing: dictated digits go, prices, times, years and counts stay."""

from __future__ import annotations

import pytest

from tests.transcription.redaction.shown import dialogue, shown


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "It is seven seven four two one.", "It is [NUMBER]."),
        ("en", "It is 7, 7, 4, 2, 1, thanks.", "It is [NUMBER], thanks."),
        ("en", "It is 7-7-4-2-1.", "It is [NUMBER]."),
        ("en", "It is 77. 42. 1.", "It is [NUMBER]."),
        ("en", "It is seven, uh, seven four and then two one.", "It is [NUMBER]."),
        ("en", "It is double seven four two one.", "It is [NUMBER]."),
        ("en", "It is oh oh four.", "It is oh oh four."),
        ("en", "It is oh oh four one.", "It is [NUMBER]."),
        ("en", "It is triple five.", "It is triple five."),
        ("en", "It is triple five six.", "It is [NUMBER]."),
        ("en", "Plate AB12 CDE.", "Plate [NUMBER]."),
        ("en", "It is X 4 Y 7 7.", "It is [NUMBER]."),
        ("nl", "Het is een twee, drie vier.", "Het is [NUMBER]."),
        ("nl", "Het is dubbel een, drie vier.", "Het is [NUMBER]."),
        ("nl", "Het is vijfenzeventig dertig.", "Het is [NUMBER]."),
        ("de", "Es ist zwo drei, doppel vier.", "Es ist [NUMBER]."),
        ("de", "Es ist fünfundsiebzig dreißig.", "Es ist [NUMBER]."),
        ("fr", "C'est six douze quarante.", "C'est [NUMBER]."),
        ("pl", "To jest 77421.", "To jest [NUMBER]."),
        ("en", "It is \u0667\u0667\u0664\u0662.", "It is [NUMBER]."),
    ],
)
def test_four_digits_are_redacted_however_they_are_said(language: str, text: str, expected: str) -> None:
    assert shown(text, language) == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "It costs 1,250 dollars."),
        ("en", "It costs €1250 all in."),
        ("en", "It costs four thousand five hundred pounds."),
        ("en", "It costs 39.99 a month."),
        ("en", "It takes between 10 and 12 days."),
        ("en", "We open at 8:30."),
        ("en", "We open from nine thirty to five."),
        ("en", "It began in 2019."),
        ("en", "It began in nineteen ninety."),
        ("en", "About 1500 came."),
        ("en", "It has 25,000 customers."),
        ("en", "I have one or two questions, give me a second."),
        ("en", "An MP3 player with 4K and USB 3."),
        ("nl", "Het kost 1.250 euro."),
        ("nl", "Tussen 8.00 en 12.30 uur."),
        ("nl", "Ik heb een of twee vragen."),
        ("de", "Es kostet 1.250 Euro."),
        ("de", "Zwischen 8:00 und 12:30 Uhr."),
        ("de", "Das war im Jahr 2019 so."),
    ],
)
def test_prices_times_years_and_counts_stay(language: str, text: str) -> None:
    assert shown(text, language) == text


def test_a_question_for_a_number_makes_three_digits_enough() -> None:
    assert dialogue([("a", "And the security code?"), ("b", "Seven three seven.")])[1] == "[CARD]."
    assert dialogue([("a", "And what happened?"), ("b", "Seven three seven.")])[1] == "Seven three seven."


def test_a_question_reaches_over_assent_but_not_over_talk() -> None:
    asked = ("a", "What is your extension?")
    assert dialogue([asked, ("b", "Yes, uh."), ("b", "It is 7 3 7.")])[2] == "It is [PHONE]."
    talk = [("b", "One moment."), ("a", "Sure."), ("b", "I have 7 3 7.")]
    assert dialogue([asked, *talk])[3] == "I have 7 3 7."


def test_a_number_split_over_turns_is_one_dictation() -> None:
    said = [("b", "It is 20."), ("a", "20."), ("b", "46."), ("a", "Yes."), ("b", "And 9.")]
    assert dialogue(said) == ["It is [NUMBER].", "[NUMBER].", "[NUMBER].", "Yes.", "And [NUMBER]."]


def test_a_question_suspends_the_benefit_of_the_doubt() -> None:
    assert shown("My account number is 1,250.") == "My account number is [IBAN]."
    assert shown("My account number cost me 1,250 euros.") == "My account number cost me 1,250 euros."


def test_a_first_digit_misheard_as_a_word_goes_with_the_others() -> None:
    assert shown("My card number is for 1111 1111.") == "My card number is [CARD]."
    assert shown("Waiting for 1111 1111.") == "Waiting for [NUMBER]."
