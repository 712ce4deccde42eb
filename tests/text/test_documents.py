import codecs
import hashlib

import pytest

from sphere_ebm.text import documents
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import find_texts
from text_files import read, refusal, refusal_and_peak, texts

# a file that is one document


@pytest.mark.parametrize("content", [b"x", b"\xef\xbb\xbfmarked\r\nlines\n", "Grüße 🌍".encode()])
def test_a_text_file_is_one_document_byte_for_byte(write, content):
    file = read(write("notes.txt", content))
    assert bytes(file.octets) == content
    assert (file.documents, file.lengths.tolist(), file.warnings) == (
        ("notes.txt",),
        [len(content)],
        (),
    )
    assert file.digest == hashlib.sha256(content).hexdigest()


def test_characters_that_reads_cut_in_two_are_whole_again(write, monkeypatch):
    monkeypatch.setattr(documents, "_CHUNK", 3)
    content = "aé🌍 ∑".encode() * 5
    assert bytes(read(write("a.txt", content)).octets) == content


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "UTF_8_sig"])
def test_another_encoding_becomes_utf_8(write, encoding):
    content = "Grüße\n".encode(encoding)
    file = read(write("a.txt", content), encoding=encoding)
    assert texts(file) == ["Grüße\n"]
    assert file.digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", {}, "is empty"),
        (b" \r\n\t", {}, "holds no text"),
        (codecs.BOM_UTF8 + b"\n", {}, "holds no text"),
        (codecs.BOM_UTF16_LE, {"encoding": "utf-16"}, "holds no text"),
        (
            b"abc\xffdef",
            {},
            "is not utf-8: 0xff at byte 3 (invalid start byte); name the encoding with --encoding",
        ),
        (b"abc\xc3", {}, "0xc3 at byte 3 (unexpected end of data)"),
        (b"a\xed\xa0\x80", {}, "0xed at byte 1"),
        ("é".encode(), {"encoding": "ascii"}, "is not ascii: 0xc3 at byte 0"),
        ("text".encode("utf-16"), {}, "is UTF-16 by its first bytes, not utf-8; --encoding utf-16"),
        (codecs.BOM_UTF16_BE + "text".encode("utf-16-be"), {}, "--encoding utf-16"),
        ("text".encode("utf-16"), {"encoding": "latin-1"}, "--encoding utf-16"),
        ("text".encode("utf-32"), {}, "is UTF-32 by its first bytes, not utf-8; --encoding utf-32"),
        ("text".encode("utf-32"), {"encoding": "utf-16"}, "--encoding utf-32"),
        (
            "text".encode("utf-16-le"),
            {},
            "is binary, not text; give a text file, or name its encoding",
        ),
        ("text".encode("utf-16-le"), {"encoding": "utf-16"}, "tream does not start with BOM"),
        (
            "text".encode("utf-16-le") + b"x",
            {"encoding": "utf-16-le"},
            "0x78 at byte 8 (truncated data)",
        ),
        (b"\x89PNG\0\0\0\rIHDR", {}, "is binary, not text"),
        (b"text\0", {}, "is binary, not text"),
        (
            b"x" * 11,
            {"max_bytes": 10},
            "holds more than 10 bytes of text; split the file, or raise --max-bytes",
        ),
        ("é" * 6, {"max_bytes": 11}, "holds more than 11 bytes"),
        (
            "é".encode("latin-1") * 6,
            {"max_bytes": 11, "encoding": "latin-1"},
            "holds more than 11 bytes",
        ),
    ],
)
def test_what_is_no_readable_text_is_refused_in_one_line(write, content, options, says):
    assert says in refusal(write("a.txt", content), **options)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_the_bad_byte_is_found_wherever_reads_cut_the_file(write, monkeypatch, chunk, encoding):
    monkeypatch.setattr(documents, "_CHUNK", chunk)
    start = "\ufeff" if encoding == "utf-8-sig" else ""
    content = (start + "aé🌍").encode("utf-8" if start else encoding)
    assert f"0xff at byte {len(content)} " in refusal(
        write("a.txt", content + b"\xff\xff."), encoding=encoding
    )


def test_a_named_file_of_a_binary_suffix_is_called_binary(write):
    (item,) = find_texts([write("photo.png", b"\x89PNG\r\n\x1a\n\xe2\xe3")])
    assert "is binary, not text" in refusal(item.source)


def test_text_in_a_named_file_of_a_binary_suffix_is_read(write):
    (item,) = find_texts([write("fixture.bin", "text")])
    assert texts(read_texts(item)) == ["text"]


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_a_file_that_vanishes_after_it_was_found_is_refused(write, suffix):
    (item,) = find_texts([write(f"a.{suffix}")])
    item.source.unlink()
    assert "cannot be read (No such file or directory)" in refusal(item.source)


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "parquet"])
def test_a_folder_named_like_a_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.mkdir()
    assert "is not a regular file" in refusal(path)


@pytest.mark.parametrize("encoding", ["utf-9", "", "rot13", "hex", "a\0b"])
def test_an_unknown_encoding_is_a_value_error(write, encoding):
    with pytest.raises(
        ValueError, match=r"`encoding` must be a text encoding that Python knows.*; got"
    ):
        read(write("a.txt"), encoding=encoding)


def test_a_limit_below_one_is_a_value_error(write):
    with pytest.raises(ValueError, match=r"`max_bytes` must be at least 1; got 0\."):
        read(write("a.txt"), max_bytes=0)


def test_what_exceeds_the_limit_is_refused_before_it_is_in_memory(tmp_path):
    path = tmp_path / "a.txt"
    size = 32 << 20
    path.write_bytes(b"x" * size)
    message, peak = refusal_and_peak(path, max_bytes=1000)
    assert "holds more than 1000 bytes" in message
    assert peak < size / 8
