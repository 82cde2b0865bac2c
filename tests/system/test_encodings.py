"""Bytes → text: byte order marks, UTF-8, named encodings, guesses, and files that are not text."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.terminals import make_terminal

from mistral_cli.errors import UsageError
from mistral_cli.system.encodings import (
    AUTO,
    DecodedBlocks,
    check_encoding,
    decode,
    decode_supplement,
    read_supplement,
)

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "gb18030": b"\x84\x31\x95\x33",
}
GERMAN = "Die Straße ist heute gesperrt. Bitte fahren Sie über die Müllerstraße nach Köln."
FRENCH = "Le garçon a mangé une crème brûlée à l'hôtel, puis il est allé se coucher très tôt."
ENGLISH = "The café’s owner said “we don’t accept cards” – so I paid €5 in cash, and £2 for tea."
SPANISH = "¿Dónde está la estación? Mañana saldrá el tren a las ocho y no podré llegar."
POLISH = "Proszę o przesłanie faktury za usługę. Płatność zostanie dokonana w ciągu siedmiu dni."
CZECH = "Dobrý den, prosím o zaslání nabídky na opravu střechy. Děkuji a těším se na odpověď."
RUSSIAN = "Уважаемые господа! Направляем вам счёт за услуги, оказанные в марте этого года."
UKRAINIAN = "Завтра вранці потяг вирушає о восьмій годині, не запізнюйтеся, будь ласка."
GREEK = "Η πτήση καθυστερεί δύο ώρες λόγω κακοκαιρίας στην Αθήνα."
TURKISH = "Toplantı yarın sabah saat dokuzda başlayacak, lütfen gecikmeyin. Teşekkürler."
HEBREW = "הפגישה נדחתה למחר בבוקר בשעה תשע, נא לאשר את הגעתכם."
ARABIC = "تم تأجيل الاجتماع إلى صباح الغد في الساعة التاسعة، يرجى التأكيد."
THAI = "การประชุมถูกเลื่อนไปเป็นพรุ่งนี้เช้าเก้าโมง กรุณายืนยัน"
JAPANESE = "明日の会議は午前九時から始まります。遅れないようにお願いします。"
CHINESE = "会议明天早上九点开始，请大家不要迟到。谢谢您的合作。"
TAIWANESE = "會議明天早上九點開始，請不要遲到。謝謝您的合作。"
KOREAN = "내일 회의는 오전 아홉 시에 시작합니다. 늦지 않도록 해 주세요."

LEGACY = [
    (GERMAN, "cp1252"),
    (GERMAN, "cp850"),
    (GERMAN, "mac-roman"),
    (FRENCH, "latin-1"),
    (FRENCH, "iso8859-15"),
    (ENGLISH, "cp1252"),
    (SPANISH, "cp1252"),
    (POLISH, "cp1250"),
    (POLISH, "iso8859-2"),
    (CZECH, "cp1250"),
    (RUSSIAN, "cp1251"),
    (RUSSIAN, "koi8-r"),
    (RUSSIAN, "cp866"),
    (RUSSIAN, "iso8859-5"),
    (UKRAINIAN, "koi8-u"),
    (GREEK, "cp1253"),
    (GREEK, "iso8859-7"),
    (TURKISH, "cp1254"),
    (HEBREW, "cp1255"),
    (ARABIC, "cp1256"),
    (THAI, "cp874"),
    (JAPANESE, "shift_jis"),
    (JAPANESE, "euc_jp"),
    (JAPANESE, "iso2022_jp"),
    (CHINESE, "gb18030"),
    (CHINESE, "gb2312"),
    (TAIWANESE, "big5"),
    (KOREAN, "euc_kr"),
]
EVERY_TEXT = sorted({text for text, _ in LEGACY})


@pytest.mark.parametrize("text", EVERY_TEXT)
@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_tells_the_encoding_whatever_the_user_named(
    text: str, encoding: str
) -> None:
    for named in (AUTO, "cp1252", "utf-8"):
        decoded = decode(MARKS[encoding] + text.encode(encoding), "a.txt", named)
        assert (decoded.text, decoded.warnings) == (text, ())


@pytest.mark.parametrize(("text", "encoding"), LEGACY)
def test_another_encoding_is_guessed_and_the_guess_is_reported(text: str, encoding: str) -> None:
    for plain in ("", "id,text\r\n" + "1,nothing but ASCII\r\n" * 300):
        decoded = decode(f"{plain}{text}\r\n".encode(encoding), "a.txt")
        assert decoded.text == f"{plain}{text}\r\n"
        [warning] = decoded.warnings
        assert warning.startswith("a.txt is not UTF-8: read as ")
        assert warning.endswith("; name it with --encoding")


@pytest.mark.parametrize("text", EVERY_TEXT)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_utf_16_and_32_need_no_byte_order_mark(text: str, encoding: str) -> None:
    decoded = decode(text.encode(encoding), "a.txt")
    assert decoded.text == text
    assert f"read as {encoding}, a guess" in decoded.warnings[0]
    assert decode(text.encode(encoding), "a.txt", encoding[:6]).text == text


@pytest.mark.parametrize(
    "text", ["café", "naïve", "It’s", "Müller", "20°C", "Ça va? Où est-il? Voilà.", "¿Qué?", "€5"]
)
def test_a_short_text_is_a_doubtful_guess(text: str) -> None:
    decoded = decode(text.encode("cp1252"), "a.txt")
    assert decoded.text == text
    assert "read as cp1252, a doubtful guess" in decoded.warnings[0]


@pytest.mark.parametrize(("text", "encoding"), LEGACY)
def test_a_named_encoding_needs_no_guess(text: str, encoding: str) -> None:
    decoded = decode(text.encode(encoding), "a.txt", encoding)
    assert (decoded.text, decoded.warnings) == (text, ())


def test_a_text_that_is_not_in_the_named_encoding_is_an_error_with_its_place() -> None:
    data = b"one\ntwo caf\xe9 \x81\n"
    for encoding, byte in (("utf-8", "0xe9"), ("cp1252", "0x81"), ("ascii", "0xe9")):
        with pytest.raises(
            UsageError, match=f"a.txt is not {encoding}: line 2 has the byte {byte}"
        ):
            decode(data, "a.txt", encoding)


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape"])
def test_half_of_a_surrogate_pair_is_not_text(encoding: str) -> None:
    with pytest.raises(UsageError, match=f"a.txt is not {encoding}: .*surrogates not allowed"):
        decode({"utf-7": b"+2AA-", "unicode_escape": rb"\ud800"}[encoding], "a.txt", encoding)


def test_utf_8_under_another_name_is_reported() -> None:
    [warning] = decode(GERMAN.encode(), "a.txt", "cp1252").warnings
    assert warning == "a.txt looks like UTF-8, and was read as cp1252"
    assert decode(b"plain ASCII", "a.txt", "cp1252").warnings == ()
    for name in ("utf-8", "UTF8", "utf-8-sig"):
        assert decode(GERMAN.encode(), "a.txt", name).warnings == ()


def test_windows_1252_under_the_name_of_latin_1_is_read_as_browsers_do() -> None:
    decoded = decode(ENGLISH.encode("cp1252"), "a.txt", "iso-8859-1")
    assert decoded.text == ENGLISH
    assert decoded.warnings == ("a.txt looks like cp1252, and was read so, not as iso-8859-1",)


def test_two_byte_order_marks_are_none_too_many() -> None:
    assert decode(codecs.BOM_UTF8 * 2 + GERMAN.encode(), "a.txt").text == GERMAN


@pytest.mark.parametrize("wrong", ["utf9", "", "base64", "rot13", "a\0b", "windows", "é"])
def test_a_name_that_is_not_an_encoding_lists_names(wrong: str) -> None:
    with pytest.raises(UsageError, match="no encoding") as caught:
        check_encoding(wrong)
    assert "cp1252" in caught.value.hint
    assert check_encoding("Windows-1252") == "Windows-1252"
    assert check_encoding("AUTO") == AUTO


def test_a_damaged_utf_8_text_stays_utf_8() -> None:
    decoded = decode(GERMAN.encode() + b"\xff and \xc3", "a.txt")
    assert decoded.text == f"{GERMAN}\ufffd and \ufffd"
    assert decoded.warnings == ("a.txt has invalid bytes in 2 places; replaced with \ufffd",)


@pytest.mark.parametrize(
    "data",
    [
        b"GGUF\x03\0\0\0" * 50,
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01",
        b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0",
        b"\x1f\x8b\x08\x08\xb7\xff\xfe\x01\x02\x03",
        b"\xff\xd8\xff\xe0\x11\x10JFIF\x01\x01\x90\x8f\x1b",
        b"a\0b\xff",
    ],
)
def test_a_binary_file_is_refused(data: bytes) -> None:
    for encoding in (AUTO, "cp1252"):
        if encoding == AUTO or b"\0" in data:
            with pytest.raises(UsageError, match=r"a\.bin is not") as caught:
                decode(data, "a.bin", encoding)
            assert "--encoding" in caught.value.hint


def test_terminal_colours_and_bells_are_utf_8() -> None:
    text = "\x1b[31mred\x1b(B\x1b[0m\a and \x08Grüße \x1b[?25h"
    assert decode(text.encode(), "a.log").text == text
    assert decode(b"\x1b[31mplain ASCII\x1b[0m", "a.log").warnings == ()


def test_what_stands_beside_a_text_may_be_utf_8_all_the_same(tmp_path: Path) -> None:
    assert decode_supplement("Straße".encode(), "a", "cp1252").text == "Straße"
    assert decode_supplement("Straße".encode("cp1252"), "a", "cp1252").text == "Straße"
    assert decode_supplement(b"plain", "a", "utf-16").text == "plain"
    assert decode_supplement("\x1b[1mStraße".encode(), "a", "cp1252").text == "\x1b[1mStraße"
    assert decode_supplement("plain".encode("utf-16-be"), "a", "utf-16-be").text == "plain"
    path, terminal = tmp_path / "a.json", make_terminal()
    path.write_bytes("Straße\r\n2\r".encode("cp1252"))
    assert read_supplement(path, terminal) == "Straße\n2\n"
    assert "read as cp1252" in terminal.warnings[0]


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_without_loss_or_reported(data: bytes) -> None:
    try:
        decoded = decode(data, "a.txt")
    except UsageError:
        return
    if not decoded.warnings:
        assert decoded.text.encode() in (data, data.removeprefix(codecs.BOM_UTF8)) or any(
            data == mark + decoded.text.encode(encoding) for encoding, mark in MARKS.items()
        )


def streamed(blocks: list[bytes], encoding: str = AUTO, *, is_live: bool) -> str:
    return "".join(DecodedBlocks(blocks, "a.txt", encoding, is_live=is_live))


@given(st.sampled_from([GERMAN, RUSSIAN, HEBREW, ENGLISH]), st.data(), st.booleans())
def test_blocks_of_any_size_are_the_same_text(
    text: str, data: st.DataObject, is_live: bool
) -> None:
    name = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    whole = f"{text}\n{text}".encode(name)
    cuts = sorted(data.draw(st.lists(st.integers(4, len(whole)), max_size=8)))
    ends = zip([0, *cuts], [*cuts, len(whole)], strict=True)
    blocks = [whole[start:end] for start, end in ends]
    assert streamed(blocks, is_live=is_live) == f"{text}\n{text}"
    if name in ("utf-8", "utf-16"):
        assert streamed(blocks, name, is_live=is_live).lstrip("\ufeff") == f"{text}\n{text}"


@pytest.mark.parametrize("is_live", [False, True])
def test_an_encoding_is_guessed_from_the_first_block_that_shows_it(is_live: bool) -> None:
    blocks = [b"plain\n" * 1000, f"{GERMAN}\n".encode("cp1252"), f"{GERMAN}\n".encode("cp1252")]
    decoded = DecodedBlocks(blocks, "a.txt", is_live=is_live)
    texts = iter(decoded)
    assert next(texts) == "plain\n" * 1000
    assert decoded.warnings == () or not is_live
    assert "".join(texts) == f"{GERMAN}\n" * 2
    assert "a.txt is not UTF-8: read as cp1252" in decoded.warnings[0]


@pytest.mark.parametrize("is_live", [False, True])
def test_a_later_block_does_not_change_the_guess(is_live: bool) -> None:
    blocks = [f"{GERMAN}\n".encode(), f"{GERMAN}\n".encode("cp1252")]
    decoded = DecodedBlocks(blocks, "a.txt", is_live=is_live)
    letters = sum(letter > "\x7f" for letter in GERMAN)
    assert "".join(decoded).count("\ufffd") == decoded.replaced == letters
    assert decoded.warnings == ()
    assert "a.txt has invalid bytes in" in decoded.damage[0]


def test_a_named_encoding_that_a_later_block_contradicts_is_an_error_after_the_first() -> None:
    decoded = iter(DecodedBlocks([b"one\n" * 10, b"two\n", b"\xff\n"], "a.txt", "utf-8"))
    assert next(decoded) == "one\n" * 10
    assert next(decoded) == "two\n"
    with pytest.raises(UsageError, match=r"a\.txt is not utf-8: line 12 has the byte 0xff"):
        next(decoded)


def test_nul_bytes_after_the_first_block_are_text() -> None:
    assert streamed([b"a\n" * 5000, b"\0\n"], is_live=False) == "a\n" * 5000 + "\0\n"
    with pytest.raises(UsageError, match="NUL bytes"):
        streamed([b"a\0\n", b"b\n"], is_live=True)
