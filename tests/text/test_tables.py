import hashlib
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sphere_ebm.text import documents
from text_files import read, refusal, refusal_and_peak, texts


def json_lines(*values):
    return "".join(f"{json.dumps(value)}\n" for value in values)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


# a document per line


def test_each_line_of_json_is_a_document_named_by_its_line(write):
    content = '{"id": 1, "text": "one"}\r\n\n  \n"tw\\u00f6"\n{"text": "three\\n"}'
    file = read(write("a.jsonl", content))
    assert texts(file) == ["one", "twö", "three\n"]
    assert file.documents == ("line 1", "line 4", "line 5")
    assert (file.digest, file.warnings) == (hashlib.sha256(content.encode()).hexdigest(), ())


@pytest.mark.parametrize(
    ("value", "options", "wanted"),
    [
        ({"content": "c", "text": "t", "x": "x"}, {}, "t"),
        ({"content": "c", "x": "x"}, {}, "c"),
        ({"content": "c", "text": "t", "x": "x"}, {"column": "x"}, "x"),
    ],
)
def test_the_text_is_taken_from_the_named_field_or_text_or_content(write, value, options, wanted):
    assert texts(read(write("a.ndjson", json_lines(value)), **options)) == [wanted]


def test_other_fields_may_hold_anything(write):
    other = f'"digits": {"9" * 5000}, "none": NaN, "list": [1, {{"text": null}}]'
    assert texts(read(write("a.jsonl", f'{{{other}, "text": "t"}}'))) == ["t"]


def test_json_lines_may_be_in_another_encoding_or_begin_with_a_mark(write):
    content = '{"text": "a\u0a0ab"}\n'  # in UTF-16 two bytes of it look like line breaks
    assert texts(read(write("a.jsonl", content.encode("utf-16")), encoding="utf-16")) == [
        "a\u0a0ab"
    ]
    assert texts(read(write("b.JSONL", content.encode("utf-8-sig")))) == ["a\u0a0ab"]


def test_rows_without_text_are_skipped_and_counted_in_one_warning(tmp_path, write):
    rows = ["a", "", None, "b"]
    lines = read(write("a.jsonl", json_lines(*({"text": text} for text in rows))))
    table = read(parquet(tmp_path / "a.parquet", text=rows))
    assert texts(lines) == texts(table) == ["a", "b"]
    assert (lines.documents, table.documents) == (("line 1", "line 4"), ("row 1", "row 4"))
    assert lines.warnings == ("lines without text skipped: 2, first line 2",)
    assert table.warnings == ("rows without text skipped: 2, first row 2",)


@pytest.mark.parametrize("line", ['{"content": "a", "id": 1}', "{}", '{"text": null}'])
@pytest.mark.parametrize("options", [{}, {"column": "text"}])
def test_a_line_after_the_first_without_the_field_is_one_without_text(write, line, options):
    path = write("a.jsonl", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n')
    found = read(path, **options)
    assert texts(found) == ["a", "b"]
    assert found.warnings == ("lines without text skipped: 1, first line 2",)


@pytest.mark.parametrize("line", ['{"text": "a b', '{"text": "a"', '{"text"', "{", '"a b'])
def test_a_last_line_that_breaks_off_loses_that_line_only(write, line):
    found = read(write("a.jsonl", f'{{"text": "a"}}\n{{"text": "b"}}\n{line}'))
    assert texts(found) == ["a", "b"]
    assert found.warnings == ("lines without text skipped: 1, first line 3",)
    assert "line 1 is not JSON" in refusal(write("b.jsonl", line))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "shift-jis"])
@pytest.mark.parametrize("bytes_left", [1, 2, 3])
def test_a_last_line_cut_inside_a_character_loses_that_line_only(write, encoding, bytes_left):
    whole = '{"text": "a"}\n{"text": "b \u65e5'.encode(encoding)
    width = len("\u65e5".encode(encoding.replace("16", "16-le")))
    content = whole[: len(whole) - width + min(bytes_left, width)]
    found = read(write("a.jsonl", content), encoding=encoding)
    assert texts(found) == ["a"]
    assert found.warnings == ("lines without text skipped: 1, first line 2",)


def test_half_a_character_behind_a_whole_line_is_refused(write):
    problem = refusal(write("a.jsonl", b'{"text": "a"}\n{"text": "b"}\xe6\x97'))
    assert "line 2 is not JSON (Extra data" in problem
    assert "0xe6 at byte 1" in refusal(write("b.txt", b"b\xe6\x97"))


@pytest.mark.parametrize(
    ("line", "options", "says"),
    [
        (
            '{"text": "a"',
            {},
            (
                "line 3 is not JSON (Expecting ',' delimiter, column 13); give one JSON object per"
                " line"
            ),
        ),
        ('{"text": "a"} {}', {}, "line 3 is not JSON (Extra data, column 15)"),
        ("[" * 100_000, {}, "line 3 is nested too deeply"),
        ("[1]", {}, "line 3 is a list, not an object or a string"),
        ("12345", {}, "line 3 is a number, not an object or a string"),
        ("null", {}, "line 3 is null, not an object or a string"),
        (
            '{"text": 1}',
            {},
            "`text` in line 3 is a number, not a string; name the field of the text with --column",
        ),
        ('{"text": {"a": "b"}}', {}, "`text` in line 3 is an object"),
        ('{"text": true}', {}, "`text` in line 3 is a truth value"),
        (
            '"half \\ud800"',
            {},
            "line 3 holds half a surrogate pair (U+D800), which is no character; repair the line",
        ),
        ('"a\\u0000b"', {}, "line 3 holds a NUL character"),
        (
            f'"{"x" * 99}"',
            {"max_bytes": 100},
            "line 3 is longer than 100 bytes; shorten the line, or raise",
        ),
        (
            f'"{"x" * 90}"',
            {"max_bytes": 100},
            "holds more than 100 bytes of text; split the file, or raise",
        ),
    ],
)
def test_a_bad_line_is_named_and_nothing_of_the_file_is_taken(write, line, options, says):
    path = write("a.jsonl", f'{{"text": "good, as it is"}}\n\n{line}\n"good"\n')
    assert says in refusal(path, **options)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", {}, "is empty"),
        (b"\n \n", {}, "holds no text; give at least one line with text"),
        (b'{"text": " "}\n', {}, "holds no text"),
        (
            b'{"body": "a", "id": 1}\n',
            {},
            "line 1 has no field `text` or `content`, only body, id; name the one that",
        ),
        (b'{"text": "a"}\n', {"column": "body"}, "line 1 has no field `body`, only text"),
        (b'"a"\n"\xff"\n', {}, "is not utf-8: 0xff at byte 5"),
        ('"a"\n'.encode("utf-16"), {}, "--encoding utf-16"),
        (b'"a"\n\0\0\n', {}, "is binary, not text"),
    ],
)
def test_a_file_of_lines_that_cannot_be_used_is_refused_in_one_line(write, content, options, says):
    assert says in refusal(write("a.jsonl", content), **options)


def test_a_field_name_as_long_as_a_text_is_cut_in_messages(write):
    assert len(refusal(write("a.jsonl", '{"text": "a"}\n'), column="x" * 10_000)) < 500


# a document per row


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_each_row_of_parquet_is_a_document_named_by_its_row(tmp_path, kind):
    column = pa.array(["one", "twö", "one", "three\n", "one"]).cast(kind)
    path = parquet(tmp_path / "a.parquet", id=[1, 2, 3, 4, 5], text=column)
    file = read(path)
    assert texts(file) == ["one", "twö", "one", "three\n", "one"]
    assert file.documents == ("row 1", "row 2", "row 3", "row 4", "row 5")
    assert (file.digest, file.warnings) == (hashlib.sha256(path.read_bytes()).hexdigest(), ())


def test_the_column_is_the_named_one_or_text_or_content(tmp_path):
    path = parquet(tmp_path / "a.PARQUET", content=["c"], x=["x"])
    assert texts(read(path)) == ["c"]
    assert texts(read(path, column="x")) == ["x"]


def invalid_utf8():
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    values = pa.py_buffer(b"a\xff\xfe")
    return pa.StringArray.from_buffers(2, offsets, values)


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        (
            {"body": ["a"], "id": [1]},
            {},
            "no column `text` or `content`, only body, id; name the one that holds",
        ),
        ({"text": ["a"]}, {"column": "body"}, "no column `body`, only text"),
        (
            {"text": [1]},
            {},
            "`text`: type int64 is not text; name a column of strings with --column",
        ),
        ({"text": [["a"]]}, {}, "is not text"),
        ({"text": pa.array([b"a"])}, {}, "`text`: type binary is not text"),
        ({"text": pa.array([1, 2]).dictionary_encode()}, {}, "is not text"),
        ({"text": pa.array([], pa.string())}, {}, "holds no text; give at least one row with text"),
        ({"text": pa.array([None, ""], pa.string())}, {}, "holds no text"),
        ({"text": invalid_utf8()}, {}, "`text`: row 2 is not UTF-8"),
        ({"text": ["a", "b\0"]}, {}, "row 2 holds a NUL character"),
        (
            {"text": ["abc"] * 4},
            {"max_bytes": 11},
            "holds more than 11 bytes of text; split the file, or raise",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_one_line(tmp_path, columns, options, says):
    assert says in refusal(parquet(tmp_path / "a.parquet", **columns), **options)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 3), (0, -9), (4, None), (0, 4)])
def test_a_damaged_table_is_refused_in_one_line(tmp_path, start, stop):
    path = parquet(tmp_path / "a.parquet", text=["a", "b", "c"])
    path.write_bytes(path.read_bytes()[start:stop])
    assert "cannot be read as parquet" in refusal(path) or "is empty" in refusal(path)


def test_a_table_whose_pages_are_damaged_is_refused_in_one_line(tmp_path):
    path = parquet(tmp_path / "a.parquet", text=["a" * 1000, "b" * 1000])
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    assert "cannot be read as parquet" in refusal(path)


def test_a_table_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", text=["a"])
    whole = documents.parquet_texts

    def meanwhile(*given):
        yield from whole(*given)
        with open(path, "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(documents, "parquet_texts", meanwhile)
    assert "was changed while it was read" in refusal(path)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = parquet(tmp_path / "a.parquet", text=["a"])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert refusal(path).endswith(
        "reading Parquet needs the package `pyarrow`; pip install 'pyarrow>=18'"
    )


# both kinds of rows


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.jsonl", "line 1 is longer than 1000 bytes"),
        ("a.parquet", "holds more than 1000 bytes of text"),
    ],
)
def test_what_exceeds_the_limit_is_refused_before_it_is_in_memory(tmp_path, name, says):
    path = tmp_path / name
    size = 32 << 20
    if name == "a.jsonl":
        path.write_bytes(b"x" * size)
    else:
        rows = [str(i) * (size // 40_000) for i in range(1000, 11_000)]
        pq.write_table(pa.table({"text": rows}), path, compression="none", use_dictionary=False)
    assert path.stat().st_size > 0.9 * size
    message, peak = refusal_and_peak(path, max_bytes=1000)
    assert says in message
    assert peak < size / 8


characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
some_texts = st.lists(st.text(characters, min_size=1).filter(str.strip), min_size=1)


@given(rows=some_texts, chunk=st.integers(1, 40), escaped=st.booleans())
def test_every_text_comes_back_from_lines_and_rows(tmp_path_factory, rows, chunk, escaped):
    folder = tmp_path_factory.mktemp("rows")
    lines = folder / "a.jsonl"
    lines.write_text(
        "\n".join(json.dumps({"text": row}, ensure_ascii=escaped) for row in rows),
        "utf-8",
        newline="\n",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_CHUNK", chunk)
        found = [read(lines), read(parquet(folder / "a.parquet", text=rows))]
    for file in found:
        assert texts(file) == rows
        assert bytes(file.octets) == "".join(rows).encode()
        assert len(set(file.documents)) == len(rows)
