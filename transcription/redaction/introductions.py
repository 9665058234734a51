"""What stands before and after names in each language, and the capitalised words that are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from transcription.redaction.vocabulary import words


@dataclass(frozen=True, slots=True)
class Words:
    """A language's words around names; phrases are tuples of lower-case words."""

    sure: tuple[str, ...]  # whatever follows is a name
    likely: tuple[str, ...]  # a capitalised word that follows is one
    after: tuple[str, ...]  # the capitalised words before it are one
    titles: frozenset[str]
    relations: frozenset[str]
    never: frozenset[str]  # capitalised at a sentence's beginning, or for other reasons, and no names


EN: Final = Words(
    sure=("my name is", "my name's", "the name is", "name's", "name is", "i am called", "full name is", "surname is"),
    likely=(
        "this is", "i'm", "i am", "speaking with", "speaking to", "spoke to", "spoke with", "talked to", "talking to",
        "talk to", "speak to", "speak with", "is that", "am i speaking to", "put down", "ask for", "named", "called",
        "name of", "colleague", "dear", "hello", "hi", "hey", "thanks", "thank you", "with", "from",
    ),
    after=("here", "speaking", "calling", "on the line"),
    titles=words(
        """
        mr mrs ms miss mister madam dr doctor prof professor sir lord lady
        """
    ),
    relations=words(
        """
        wife husband son daughter mother father brother sister boss partner neighbour neighbor
        """
    ),
    never=words(
        """
        i i'm i'll i've i'd yes no yeah ok okay well so and but the a an this that it it's its is he she we you they
        my your our hi hello hey good morning afternoon evening thanks thank please sorry sure right of course just
        let may could can what who where when why how one two three oh um uh er monday tuesday wednesday thursday
        friday saturday sunday january february march april june july august september october november december
        english dutch german american british french not now here there in on at for from with about to calling
        afraid sir madam mr mrs ms miss dr gmail visa iban pin put all been very also then if or do does did have
        has had was were would will see speak goodbye bye great fine perfect lovely alright god internet london
        amsterdam berlin
        """
    ),
)  # fmt: skip

NL: Final = Words(
    sure=("mijn naam is", "naam is", "ik heet", "u spreekt met", "je spreekt met", "spreekt met", "achternaam is"),
    likely=(
        "dit is", "ik ben", "gesproken met", "gesprek met", "spreek ik met", "met mevrouw", "met meneer", "op naam van",
        "genaamd", "collega", "beste", "hallo", "dag", "bedankt", "met", "op", "van", "is dat",
    ),
    after=("hier", "aan de lijn", "aan het woord"),
    titles=words(
        """
        meneer mevrouw mevr mijnheer dhr mw heer dokter juffrouw professor dr
        """
    ),
    relations=words(
        """
        man vrouw zoon dochter moeder vader broer zus baas partner buurman buurvrouw collega
        """
    ),
    never=words(
        """
        ik u je jij we wij hij zij ze het de een dit dat deze die mijn uw onze ja nee oké ok nou dus en maar want
        goed goedemorgen goedemiddag goedenavond goedendag hallo dag hoi bedankt dank sorry natuurlijk prima met op
        van in aan bij voor om wat wie waar wanneer waarom hoe mag kan kunt kunnen er is zijn was heb hebt heeft
        twee drie maandag dinsdag woensdag donderdag vrijdag zaterdag zondag januari februari maart april mei juni
        juli augustus september oktober november december nederlands engels duits nederland amsterdam rotterdam
        utrecht mevrouw meneer doe stuur iban visa pin bsn gmail internet als dan daar hier nu ons dubbel nul even
        geboren geboortedatum
        """
    ),
)  # fmt: skip

DE: Final = Words(
    sure=("mein name ist", "name ist", "ich heisse", "sie sprechen mit", "nachname ist"),
    likely=(
        "hier spricht", "hier ist", "spricht", "ich bin", "spreche ich mit", "gesprochen mit", "auf den namen",
        "namens", "kollege", "kollegin", "kollegen", "hallo", "liebe", "lieber", "auf", "ist das",
    ),
    after=("mein name", "am apparat", "hier", "am telefon", "guten tag", "guten morgen", "grüss gott"),
    titles=words(
        """
        herr herrn frau fräulein doktor professor dr prof
        """
    ),
    relations=words(
        """
        mann frau sohn tochter mutter vater bruder schwester chef chefin partner nachbar
        """
    ),
    never=words(
        """
        ich sie er es wir ihr du der die das den dem ein eine mein meine ihre unser ja nein gut also und aber oder
        guten guter morgen tag abend hallo danke vielen dank bitte entschuldigung natürlich gerne mit auf von in an
        bei für um was wer wo wann warum wie darf kann können ist sind war habe hat haben montag dienstag mittwoch
        donnerstag freitag samstag sonntag januar februar märz april mai juni juli august september oktober november
        dezember deutsch englisch deutschland berlin köln hamburg münchen herr frau iban pin internet name namen
        telefonnummer nummer adresse kunde kundin kunden vertrag rechnung konto karte termin problem frage uhr euro
        geburtsdatum hier dann jetzt so nun nummern straße passwort etage moment service auftrag geburtstag
        gesprächspartner technik firma büro haus wohnung garten urlaub ordnung wiederhören wiedersehen null doppel
        am im zum zur
        """
    ),
)  # fmt: skip

TABLE: Final = {"en": EN, "nl": NL, "de": DE}
