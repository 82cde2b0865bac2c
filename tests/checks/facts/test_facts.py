"""What counts as the same number, date, unit or name, and what does not."""

from __future__ import annotations

import pytest

from mistral_cli.checks.facts.compare import check_facts


def found(
    source: str, answer: str, mode: str = "summary", **languages: str
) -> dict[str, list[str]]:
    """The texts of the findings of each check that fails."""
    checks = check_facts(source, answer, mode=mode, **languages)  # type: ignore[arg-type]
    return {check.name: [each.text for each in check.findings] for check in checks if not check.ok}


SAME = [
    ("en", "It cost 40,000 euros.", "It cost 40.000 euros."),
    ("en", "It cost 40,000 euros.", "It cost 40 000 €."),
    ("en", "It cost 40,000 euros.", "It cost forty thousand euros."),
    ("en", "It cost 40,000 euros.", "It cost €40k."),
    ("en", "It cost 40,000 euros.", "It cost 40 thousand EUR."),
    ("en", "There were 40,000 people.", "There were 4·10^4 people."),
    ("en", "There were 40,000 people.", "There were 4e4 people."),
    ("en", "He got 40 % of it.", "He got forty per cent of it."),
    ("en", "It costs $14,000.", "It costs $14k, i.e. 14,000 dollars."),
    ("en", "It is the 1st of 21 volumes.", "It is the first of twenty-one volumes."),
    ("en", "A quarter of them left.", "25% of them left."),
    ("en", "It took 90 minutes.", "It took one and a half hours."),
    ("en", "It took two weeks.", "It took 14 days."),
    ("en", "Chapter XIV is about 1,5 m.", "Chapter 14 is about 1.5 metres."),
    ("en", "They paid \uff14\uff12,000 yen.", "They paid 42,000 yen."),
    ("en", "They paid ٤٢ dollars.", "They paid 42 dollars."),
    ("en", "They paid ४२ dollars.", "They paid 42 dollars."),
    ("en", "It had ½ a litre.", "It had 500 ml."),
    ("en", "About 12,870 people came.", "Nearly 13,000 people came."),
    ("en", "On the first of October it rains.", "On 1 October it rains."),
    ("en", "On the first of October it rains.", "On Oct 1st it rains."),
    ("en", "On the first of October it rains.", "On 10-01 it rains."),
    ("en", "On 2026-10-01 it rains.", "On Thursday, October 1, 2026 it rains."),
    ("en", "From 1 to 3 October it rains.", "On October 3 it rains."),
    ("en", "We meet at 5 pm.", "We meet at 17:00."),
    ("en", "We meet at 17:30.", "We meet at half past five."),
    ("de", "Am 01.10. um 17 Uhr regnet es.", "Am ersten Oktober um 17:00 Uhr regnet es."),
    ("de", "Es kostet vierzigtausend Euro.", "Es kostet 40.000 €."),
    ("de", "Es waren 525 Kinder.", "Es waren fünfhundertfünfundzwanzig Kinder."),
    ("de", "Wir treffen uns um halb vier.", "Wir treffen uns um 15:30 Uhr."),
    ("fr", "Cela coûte quatre-vingt-dix-sept mille euros.", "Cela coûte 97 000 €."),
    ("fr", "Le premier octobre à 17h, il pleut.", "Le 1er octobre à 17 heures, il pleut."),
    ("es", "Cuesta cuarenta mil euros.", "Cuesta 40.000 €."),
    ("es", "El uno de octubre a las 5 de la tarde.", "El 1 de octubre a las 17:00."),
    ("it", "Costa quarantamila euro il primo ottobre.", "Costa 40.000 € il 1º ottobre."),
    ("pt", "Custa quarenta mil euros.", "Custa 40 mil euros."),
    ("nl", "Het kost veertigduizend euro.", "Het kost € 40.000."),
    ("nl", "Om kwart voor drie gaan we.", "Om 14:45 gaan we."),
    ("pl", "To kosztuje czterdzieści tysięcy złotych.", "To kosztuje 40 000 zł."),
    ("ru", "Это стоит сорок тысяч рублей.", "Это стоит 40 000 ₽."),
    ("zh", "费用为三万五千元。", "费用为35000元。"),
    ("ja", "10月1日の午後5時に始まります。", "10月1日の17時に始まります。"),
    ("en", "The World Health Organization met in Norway.", "The WHO met on Norwegian soil."),
    ("en", "We asked John Smith's wife.", "She is the wife of J. Smith, they said."),
    ("pl", "Rozmawiała Hanna Milewska z Gdańska.", "Rozmawiano z Hanną Milewską w Gdańsku."),
    ("de", "Die Müllers wohnen hier.", "Frau Müller wohnt hier."),
    ("en", "We need René and Zoë.", "They need Rene and Zoe."),
    ("en", "He has two cats and three dogs.", "He has five animals."),
    ("en", "Tom, Ann, Bob and Eve came.", "The four of them came."),
    # decades and centuries
    ("en", "It was built in 1932.", "It was built in the 1930s."),
    ("en", "The battle of 1813 was long.", "It was a long 19th-century battle."),
    ("de", "Die Schlacht war 1913.", "Eine Schlacht im 20. Jahrhundert."),
    ("de", "Das Haus ist von 1932.", "Ein Haus aus den 30er Jahren."),
    ("fr", "La bataille eut lieu en 1813.", "Une bataille du XIXe siècle."),
    ("fr", "La maison date de 1932.", "Une maison des années 30."),
    ("es", "La batalla fue en 1813.", "Una batalla del siglo XIX."),
    ("it", "La casa è del 1932.", "Una casa degli anni Trenta."),
    ("pl", "Dom zbudowano w 1932 roku.", "Dom z lat 30. XX wieku."),
    ("ru", "Дом построен в 1932 году.", "Дом 1930-\u0445 годов."),
    ("ja", "家は1932年に建てられた。", "家は1930年代のもの。"),
    ("zh", "房子建于1932年。", "房子建于20世纪30年代。"),
    # shares
    ("en", "In all, 1,300 of 2,000 homes have one.", "65 % of the homes have one."),
    ("en", "In all, 1,297 of 2,000 homes have one.", "About two thirds, 65 %, have one."),
    ("en", "602 of 1,204 members voted.", "Half of the 1,204 members voted."),
    ("en", "Half of the 1,204 members voted.", "602 members voted."),
    ("de", "1300 von 2000 Haushalten haben Strom.", "65 % der Haushalte haben Strom."),
    ("fr", "Sur 2 000 foyers, 1 300 ont une pompe.", "65 % des foyers ont une pompe."),
    # differences, durations
    ("en", "The limit rises from 3 to 5 kg.", "You may carry 2 kg more."),
    ("en", "The course takes 12 weeks.", "The course takes three months."),
    ("en", "It runs for 52 weeks.", "It runs for a year, that is 12 months."),
    ("en", "The trip is from Monday to Friday.", "It is a five-day trip."),
    (
        "en",
        "The trip is on 12-16 June.",
        "It is a five-day trip from 12 to 16 June.",
    ),
    ("en", "The old prices end on 30 September.", "New prices from 1 October."),
    ("de", "Ab 1. Oktober gelten neue Preise.", "Die alten gelten bis 30. September."),
    ("en", "It lasts 18 months.", "It lasts a year and a half."),
    ("it", "Passa ogni 15 minuti.", "Passa ogni quarto d'ora."),
    ("en", "From 1 November to 31 January.", "In November, December and January."),
    ("en", "From 8.30 am to 12.40 pm.", "For about four hours."),
    ("de", "Die Amtszeit ist vierjährig.", "Die Amtszeit dauert vier Jahre."),
    ("pl", "Kadencje są czteroletnie.", "Kadencja trwa cztery lata."),
    ("en", "It fell from £5.6m to £5.1m.", "It fell by half a million pounds."),
    ("es", "Subió de 0,28 a 0,36 euros.", "Subió ocho céntimos, hasta 36."),
    ("en", "Loans for three weeks; games for one week.", "Loans: 21 days, games for seven."),
    ("fr", "Il a 18 mois de prison, dont 12 avec sursis.", "18 mois de prison, dont 6 ferme."),
    ("en", "Yesterday, on 3 August, it rained. It stopped yesterday.", "It stopped on 2 August."),
    ("en", "Two firms pay 2 million euros each.", "Together they pay 4 million euros."),
    # idioms, phone numbers, acronyms
    ("en", "Support is open around the clock.", "Support is open 24/7."),
    ("de", "Tel. 030 1234567.", "Telefon: +49 30 1234567."),
    ("de", "Tel. +49 (0)30 1234567.", "Telefon: 030 1234567."),
    ("en", "We asked NASA.", "We asked the National Aeronautics and Space Administration."),
    ("fr", "Nous citons l'OMS.", "Nous citons l'Organisation mondiale de la santé."),
    ("de", "Nutzer von Windows 11 und die Formel 1.", "Windows-11-Nutzer, Formel-1-Rennen."),
]

DIFFERENT = [
    ("en", "Minutes of 3 June. It opens tomorrow. Next: 17 June.", "Next: 18 June.", "dates"),
    ("en", "It cost 40,000 euros.", "It cost 41,000 euros.", "numbers"),
    ("en", "It cost 14,000 EUR.", "It cost 14,000 USD.", "units"),
    ("en", "We ran 5 km.", "We ran 5 miles.", "units"),
    ("en", "It took 20 minutes.", "It took 20 hours.", "units"),
    ("en", "They had 3 million visitors.", "They had 3 billion visitors.", "numbers"),
    ("en", "He has two cats.", "He has three cats.", "numbers"),
    ("en", "Half of the staff left.", "A third of the staff left.", "numbers"),
    ("en", "On 1 October it rains.", "On 1 November it rains.", "dates"),
    ("en", "On 1 October 2026 it rains.", "On 1 October 2025 it rains.", "dates"),
    ("en", "On Monday it rains.", "On Tuesday it rains.", "dates"),
    ("en", "We meet at 5 pm.", "We meet at 5 am.", "dates"),
    ("de", "Es kostet vierzigtausend Euro.", "Es kostet 14.000 €.", "numbers"),
    ("en", "She met Anna Lopez there.", "She met Maria Lopez there.", "names"),
    ("en", "She met her in Porto.", "She met her in Lyon.", "names"),
    ("en", "Use part AX-120.", "Use part AX-210.", "names"),
    ("en", "Write to a@b.example.", "Write to c@b.example.", "names"),
    ("en", "See https://a.example/x.", "See https://a.example/y.", "names"),
    ("de", "Frau Keller kommt.", "Frau Vogt kommt.", "names"),
    ("en", "It was built in 1932.", "It was built in the 1940s.", "numbers"),
    ("de", "Das Haus ist von 1932.", "Ein Haus aus den 1990er Jahren.", "numbers"),
    ("fr", "La maison date de 1932.", "Une maison du XIXe siècle.", "numbers"),
    ("en", "In all, 1,300 of 2,000 homes have one.", "56 % of the homes have one.", "numbers"),
    ("en", "The course takes 12 weeks.", "The course takes four months.", "numbers"),
    ("en", "The trip is on 12-16 June.", "It is a six-day trip in June.", "numbers"),
    ("en", "The old prices end on 30 September.", "New prices from 2 October.", "dates"),
    ("en", "Closed from 14 May.", "Closed from 15 May.", "dates"),
    ("de", "Tel. 030 1234567.", "Telefon: +49 30 1234576.", "names"),
    ("en", "Terms of nine years and thirty years.", "She must be 21 years old.", "numbers"),
    ("en", "Between 5 % and 20 % of the staff.", "At most 25 % of the staff.", "numbers"),
    ("en", "Five times it rang, for five years.", "It rang for five months.", "units"),
    ("en", "It needs 65 MiB.", "It needs 65 GB.", "units"),
    ("en", "Mr Thorne spoke.", "Mr Thorn spoke.", "names"),
    ("en", "Education is free.", "UNESCO says that education is free.", "names"),
    ("de", "Ein Rennen der Formel 1.", "Das Formel-2-Rennen.", "names"),
]


@pytest.mark.parametrize(("language", "source", "answer"), SAME)
def test_another_spelling_is_the_same_fact(language: str, source: str, answer: str) -> None:
    assert not found(source, answer, language=language, source_language=language)


@pytest.mark.parametrize(("language", "source", "answer", "check"), DIFFERENT)
def test_another_value_is_found(language: str, source: str, answer: str, check: str) -> None:
    assert [*found(source, answer, language=language, source_language=language)] == [check]


def test_a_finding_has_its_place_and_a_reason() -> None:
    answer = "It cost 14,000 USD."
    checks = check_facts("It cost 14,000 EUR.", answer, mode="summary")
    [finding] = next(check for check in checks if check.name == "units").findings
    assert answer[finding.start : finding.end] == finding.text == "14,000 USD"
    assert finding.why == "the text has 14,000 EUR"


def test_the_finding_of_a_decade_is_all_of_it() -> None:
    checks = check_facts("Es war 1932.", "In den 1990er Jahren.", mode="summary", language="de")
    assert [each.text for check in checks for each in check.findings] == ["1990er Jahren"]


def test_a_translation_keeps_placeholders_codes_and_addresses() -> None:
    source = "Hello {name}, see <b>https://a.example</b>, %s of $HOME, code AB-12, 3 files."
    same = "Bonjour {name}, voir <b>https://a.example</b>, %s de $HOME, code AB-12, 3 fichiers."
    assert not found(source, same, mode="translation")
    pieces = ("{name}", "<b>", "</b>", "https://a.example", "%s", "$HOME", "AB-12", "3 fichiers")
    for piece in pieces:
        rest = same.replace(piece, "")
        lacking = found(source, rest, "translation", language="fr", source_language="en")
        assert [*lacking] == ["missing"], piece
    assert found(source, same + " {nom}", mode="translation") == {"names": ["{nom}"]}


def test_the_names_of_a_translation_may_be_translated() -> None:
    assert not found("She lives in London.", "Elle vit à Londres.", mode="translation")


@pytest.mark.parametrize(
    ("english", "german", "wrong"),
    [
        ("in the 1990s", "in den 1990er-Jahren", "in den 1980er-Jahren"),
        ("in the 1990s", "in den 1990er Jahren", "in den 1970er Jahren"),
        ("COVID-19 vaccines of the G7 states", "COVID-19-Impfstoffe der G7-Staaten", "G8-Staaten"),
        ("an A4 page", "eine A4-Seite", "eine A5-Seite"),
    ],
)
def test_german_compounds(english: str, german: str, wrong: str) -> None:
    languages = {"mode": "translation", "language": "German", "source_language": "English"}
    assert not found(english, german, **languages)
    assert found(english, wrong, **languages)
    back = {"mode": "translation", "language": "English", "source_language": "German"}
    assert not found(german, english, **back)


def test_a_compound_of_a_name_is_no_other_name() -> None:
    assert not found("A firm from Austin, Texas.", "The Texas-based firm.", mode="summary")
    wrong = found("A firm from Austin, Texas.", "The Berlin-based firm.", mode="summary")
    assert wrong == {"names": ["Berlin-based"]}


HOSTILE = [
    "1",
    "1.",
    "1,",
    "123 ",
    "A",
    "A ",
    "Ab ",
    " ",
    "-",
    "a-",
    "1-",
    ".",
    "{",
    "<a ",
    "a@",
    "/a",
]


@pytest.mark.parametrize("piece", [*HOSTILE, "zwei", "三万", "五", "a, ", "and ", "%(", "hundred "])
def test_time_grows_with_the_length_alone(piece: str) -> None:
    """No pattern backtracks: a text of 100 kB that repeats itself is checked at all."""
    text = piece * (10_000 // len(piece))
    for mode in ("summary", "translation"):
        found(text, "There were 5 people in Rome on 4 May.", mode=mode)
        found("There were 5 people in Rome on 4 May.", text[:2_000], mode=mode)
