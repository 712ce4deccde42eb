"""HTML, PDF and Markdown with front matter become prose."""

import sys

import pypdf
import pytest
from pypdf.generic import DictionaryObject, NameObject, StreamObject

from sphere_ebm.text.converting import without_front_matter
from text_files import read, refusal, texts

PAGE = """<!doctype html><html><head><title>No prose</title><style>p { color: red }</style>
<script>var secret = 1;</script></head><body><h1>Harbours</h1>
<p>The old <b>harbour</b> froze &amp; thawed.</p><ul><li>boats</li><li>nets</li></ul></body></html>
"""


def pdf(*pages):
    writer = pypdf.PdfWriter()
    kind = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    font = DictionaryObject({NameObject(k): NameObject(v) for k, v in kind.items()})
    for text in pages:
        page = writer.add_blank_page(300, 300)
        content = StreamObject()
        content.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
        fonts = DictionaryObject({NameObject("/F1"): writer._add_object(font)})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(content)
    return writer


def saved(writer, path):
    with open(path, "wb") as file:
        writer.write(file)
    return path


def test_a_page_becomes_what_a_browser_shows_of_it(write):
    (text,) = texts(read(write("page.html", PAGE)))
    assert text.split() == [
        "Harbours",
        "The",
        "old",
        "harbour",
        "froze",
        "&",
        "thawed.",
        "boats",
        "nets",
    ]
    assert "<" not in text
    assert "\n\n" in text, "paragraphs stay apart"


def test_a_page_that_shows_nothing_is_empty(write):
    assert "holds no text" in refusal(write("page.htm", "<script>var x = 1</script>"))


def test_a_pdf_becomes_the_text_of_its_pages(tmp_path):
    file = read(saved(pdf("The first page.", "", "The third page."), tmp_path / "paper.pdf"))
    assert texts(file) == ["The first page.\n\nThe third page.\n\n"]
    assert file.documents == ("paper.pdf",)


def test_a_pdf_without_text_is_empty(tmp_path):
    assert "holds no text" in refusal(saved(pdf(""), tmp_path / "scan.pdf"))


def test_a_damaged_and_an_encrypted_pdf_are_refused_in_one_line(tmp_path, write):
    assert "cannot be read as PDF" in refusal(write("paper.pdf", b"%PDF-1.4\n%\xe2\xe3\n"))
    secret = pdf("The first page.")
    secret.encrypt("secret", algorithm="RC4-128")
    assert "is encrypted" in refusal(saved(secret, tmp_path / "secret.pdf"))


@pytest.mark.parametrize(
    ("module", "name"), [("pypdf", "a.pdf"), ("resiliparse.extract.html2text", "a.html")]
)
def test_without_the_package_the_line_names_what_to_install(write, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    assert "needs the package `" in refusal(write(name, "text"))


BODY = b"# Heading\n\nProse.\n---\nMore.\n"


@pytest.mark.parametrize(
    "block",
    [
        b"---\ntitle: A\ntags: [a, b]\n---\n",
        b"---\r\ntitle: A\r\n---\r\n",
        b"\xef\xbb\xbf---\n# who\n\nauthor:\n  - me\n...\n",
        b"+++\ntitle = 'A'\n+++\n",
    ],
)
def test_front_matter_is_no_prose(write, block):
    assert without_front_matter(block + BODY) == BODY
    assert bytes(read(write("a.md", block + BODY)).octets) == BODY
    assert bytes(read(write("a.txt", block + BODY)).octets) == block + BODY, "of Markdown only"


@pytest.mark.parametrize(
    "text",
    [BODY, b"---\nProse between rules.\n---\nMore.\n", b"---\ntitle: A\nno end\n", b"---\n"],
)
def test_rules_and_what_does_not_end_are_no_front_matter(text):
    assert without_front_matter(text) == text
