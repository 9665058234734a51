"""Each family of recognizers by itself: what it names, in which forms, and what it leaves alone."""

from __future__ import annotations

import pytest

from tests.transcription.redaction.shown import dialogue, shown

PHONES = [
    ("en", "Call me on 020 7946 0958.", "Call me on [PHONE]."),
    ("en", "It's plus 31 6 12 34 56 78.", "It's [PHONE]."),
    ("en", "It's +31612345678.", "It's [PHONE]."),
    ("en", "Ring oh two oh, seven nine four six, oh nine five eight.", "Ring [PHONE]."),
    ("nl", "Dat is nul zes, twaalf vierendertig, zesenvijftig achtenzeventig.", "Dat is [PHONE]."),
    ("nl", "Mijn nummer is 0031 6 12345678.", "Mijn nummer is [PHONE]."),
    ("de", "Es ist null eins sieben eins, zwo drei vier fünf sechs sieben acht.", "Es ist [PHONE]."),
    ("de", "Meine Handynummer ist 0171 2345678.", "Meine Handynummer ist [PHONE]."),
]

CARDS = [
    ("en", "It's 4111 1111 1111 1111.", "It's [CARD]."),
    ("en", "It's 4,111,1111,1111,1111.", "It's [CARD]."),
    ("en", "My card is 4111 1111 1111 1112.", "My card is [CARD]."),
    ("en", "My card is 4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1.", "My card is [CARD]."),
    ("en", "The card expires 12/27, security code 123.", "The card expires [CARD], security code [CARD]."),
    ("nl", "Mijn creditcard is vier een een een, een een een een.", "Mijn creditcard is [CARD]."),
    ("de", "Meine Kreditkarte ist 4111 1111 1111 1111.", "Meine Kreditkarte ist [CARD]."),
]

ACCOUNTS = [
    ("en", "It's NL91 ABNA 0417 1643 00.", "It's [IBAN]."),
    ("en", "It's NL91ABNA0417164300.", "It's [IBAN]."),
    ("en", "My bank account is in L91, a BNA 041 7 1643 0 0.", "My bank account is in [IBAN]."),
    ("en", "It's N. L. 9. 1. A. B. N. A. 0. 4. 1. 7. 1. 6. 4. 3. 0. 0.", "It's [IBAN]."),
    ("en", "It's N L nine one, A B N A, zero four one seven, one six four three, zero zero.", "It's [IBAN]."),
    ("nl", "Mijn rekening is 41 71 64 30 0.", "Mijn rekening is [IBAN]."),
    ("de", "Die IBAN ist DE89 3704 0044 0532 0130 00.", "Die IBAN ist [IBAN]."),
]

IDS = [
    ("nl", "Het is 111 222 333.", "Het is [ID]."),
    ("nl", "Mijn BSN is een een een, twee twee twee, drie drie drie.", "Mijn BSN is [ID]."),
    ("en", "It's 943 476 5919.", "It's [ID]."),
    ("en", "It's QQ 12 34 56 C.", "It's [ID]."),
    ("de", "Meine Steuer-ID lautet 86 095 742 719.", "Meine Steuer-ID lautet [ID]."),
    ("de", "Es ist 15 070649 C 103.", "Es ist [ID]."),
    ("nl", "Het duurt nog twaalf maanden.", "Het duurt nog twaalf maanden."),
]

DATES = [
    ("en", "It was on the 14th of March, 1975.", "It was on the [DATE]."),
    ("en", "It was March 14, 1975.", "It was [DATE]."),
    ("en", "It was March 14,1975.", "It was [DATE]."),
    ("en", "The fourteenth of March nineteen seventy-five.", "The [DATE]."),
    ("en", "I was born on 3-14-75.", "I was born on [DATE]."),
    ("en", "I was born in March.", "I was born in March."),
    ("en", "I was born in 1975.", "I was born in [DATE]."),
    ("en", "Come on the 14th of March.", "Come on the 14th of March."),
    ("en", "May I ask 5 things?", "May I ask 5 things?"),
    ("nl", "Dat is dertien maart negentienhonderd vijfenzeventig.", "Dat is [DATE]."),
    ("nl", "Ik ben geboren op drie vijf vijfenzeventig.", "Ik ben geboren op [DATE]."),
    ("de", "Am 13. März 1975.", "Am [DATE]."),
    ("de", "Geboren am dreizehnten dritten fünfundsiebzig.", "Geboren am [DATE]."),
]

EMAILS = [
    ("en", "Write to peter.johnson@example.com, please.", "Write to [EMAIL], please."),
    ("en", "It's peter dot johnson at example dot com.", "It's [EMAIL]."),
    ("en", "It's peter, dot, johnson, at, example, dot, com.", "It's [EMAIL]."),
    ("en", "My email address is peter.johnson.net.example.com or", "My email address is [EMAIL] or"),
    ("en", "My email address is peter.johnsonnetexample.com", "My email address is [EMAIL]"),
    ("en", "My email is Peter Johnson at example.com.", "My email is [EMAIL]."),
    ("en", "My email address is peter. johnson@example.com.", "My email address is [EMAIL]."),
    ("en", "That is fine. Write to sales@example.com.", "That is fine. Write to [EMAIL]."),
    ("en", "It's m jones at hotmail dot co dot uk.", "It's [EMAIL]."),
    ("en", "It's peter at gmail, right?", "It's [EMAIL], right?"),
    ("en", "I was at home dot.", "I was at home dot."),
    ("nl", "Het is jan punt de vries apenstaartje ziggo punt nl.", "Het is [EMAIL]."),
    ("nl", "Naar k streepje bakker at kpn punt nl.", "Naar [EMAIL]."),
    ("de", "Die Adresse ist k Unterstrich meier Klammeraffe t-online Punkt de.", "Die Adresse ist [EMAIL]."),
]

NAMES = [
    ("en", "Hello, my name is Peter Johnson. I have a question.", "Hello, my name is [PERSON]. I have a question."),
    ("en", "hello my name is peter johnson and i have a question", "hello my name is [PERSON] and i have a question"),
    ("en", "Thank you, Mr. O'Neill.", "Thank you, Mr. [PERSON]."),
    ("en", "This is Dr. Anna van den Berg speaking.", "This is [PERSON] speaking."),
    ("en", "Henderson here, good morning.", "[PERSON] here, good morning."),
    ("en", "My wife Xanthe pays the bill.", "My wife [PERSON] pays the bill."),
    ("en", "You're speaking with the billing department.", "You're speaking with the billing department."),
    ("en", "Hi, I'm calling about Monday. Thanks. May I?", "Hi, I'm calling about Monday. Thanks. May I?"),
    ("en", "We were in Paris. It was great. With Love.", "We were in Paris. It was great. With Love."),
    ("nl", "U spreekt met Fatima El Amrani.", "U spreekt met [PERSON]."),
    ("nl", "Met De Vries, goedemiddag.", "Met [PERSON], goedemiddag."),
    ("nl", "Dank u, mevrouw Jansen.", "Dank u, mevrouw [PERSON]."),
    ("nl", "Ik bel op maandag met een vraag.", "Ik bel op maandag met een vraag."),
    ("de", "Mein Name ist Klaus Müller.", "Mein Name ist [PERSON]."),
    ("de", "Vielen Dank, Herr Wagner.", "Vielen Dank, Herr [PERSON]."),
    ("de", "Guten Tag, ich habe eine Frage zur Rechnung.", "Guten Tag, ich habe eine Frage zur Rechnung."),
]

SPELLED = [
    ("en", "That is J-O-H-N-S-O-N.", "That is [SPELLED]."),
    ("en", "That is J O H N.", "That is [SPELLED]."),
    ("en", "The BBC and the N-H-S.", "The BBC and the N-H-S."),
    ("en", "M as in Mike, A as in Alpha, then.", "[SPELLED], then."),
    ("de", "M wie Martha, E wie Emil.", "[SPELLED]."),
    ("nl", "De A van Anton, B van Bernard.", "De [SPELLED]."),
]

ADDRESSES = [
    ("en", "I live at 22 Baker Street in London.", "I live at [ADDRESS] in London."),
    ("en", "I live at fourteen Elm Grove.", "I live at [ADDRESS]."),
    ("en", "It is NW1 6XE.", "It is [ADDRESS]."),
    ("en", "There is a street market on the way.", "There is a street market on the way."),
    ("nl", "Ik woon op de Kerkstraat 14.", "Ik woon op de [ADDRESS]."),
    ("nl", "Het is 1017 GC.", "Het is [ADDRESS]."),
    ("de", "In der Berliner Straße 12.", "In der [ADDRESS]."),
    ("de", "In der Hauptstraße 12.", "In der [ADDRESS]."),
]

PASSWORDS = [
    ("en", "The password is bluebird, all lower case.", "The password is [PASSWORD], all lower case."),
    ("nl", "Het wachtwoord is zonnebloem.", "Het wachtwoord is [PASSWORD]."),
    ("de", "Das Passwort lautet Sonnenblume.", "Das Passwort lautet [PASSWORD]."),
    ("en", "I forgot my password again.", "I forgot my password again."),
]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [*PHONES, *CARDS, *ACCOUNTS, *IDS, *DATES, *EMAILS, *NAMES, *SPELLED, *ADDRESSES, *PASSWORDS],
)
def test_family(language: str, text: str, expected: str) -> None:
    assert shown(text, language) == expected


def test_an_answer_to_a_question_for_a_name_is_a_name() -> None:
    assert dialogue([("a", "What's your name?"), ("b", "Desai.")])[1] == "[PERSON]."
    assert dialogue([("a", "What's your surname?"), ("b", "Yes.")])[1] == "Yes."


def test_a_name_once_told_is_a_name_on_every_track() -> None:
    said = [("a", "Thank you, Xanthe. Xanthe's bill is paid."), ("b", "My name is Xanthe Quill."), ("a", "Mrs Quill?")]
    assert dialogue(said) == ["Thank you, [PERSON]. [PERSON] bill is paid.", "My name is [PERSON].", "Mrs [PERSON]?"]


def test_a_short_answer_to_a_question_for_a_password_is_one() -> None:
    assert dialogue([("a", "And the password?"), ("b", "Yes, bluebird.")])[1] == "Yes, [PASSWORD]."
