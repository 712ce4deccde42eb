import pytest

from sphere_ebm.text.delimited import has_prose, is_prose
from text_files import read, refusal, texts

TABLE = 'id,text,price\n1,"One harbour, frozen.",2.5\n2,,3\n3,"Two\nlines.",4\n'


def test_a_table_with_a_column_of_texts_is_a_document_for_each_row(write):
    file = read(write("a.csv", TABLE))
    assert texts(file) == ["One harbour, frozen.", "Two\nlines."]
    assert file.documents == ("row 1", "row 3")
    assert file.warnings == ("rows without text skipped: 1, first row 2",)


def test_the_column_may_be_named(write):
    file = read(write("a.tsv", "id\tbody\n1\tA boat.\n2\tA net.\n"), column="body")
    assert texts(file) == ["A boat.", "A net."]
    assert "no column `gone`, only id, text, price" in refusal(write("a.csv", TABLE), column="gone")


def test_without_such_a_column_the_digits_of_a_table_are_no_prose(write):
    file = read(write("a.csv", "id;name;when;size\n17;Old harbour;2020-01-02;1e5\n18;NaN;;3\n"))
    assert texts(file) == ["id, name, when, size\nOld harbour\n"]
    assert file.documents == ("a.csv",)


def test_a_table_of_numbers_holds_no_text(write):
    assert "holds no text" in refusal(write("a.csv", "1,2\n3,4\n"))


def test_a_cell_may_be_of_any_length(write):
    long = "x" * 200_000
    assert texts(read(write("a.csv", f'text\n"{long}"\n'))) == [long]


@pytest.mark.parametrize("cell", ["12", "1e5", "2020-01-02", "", "NaN", "n/a", "A7", "3.5 %"])
def test_numbers_dates_and_codes_are_no_prose(cell):
    assert not is_prose(cell)
    assert not has_prose(f"name,value\n{cell},{cell}\n".encode())


@pytest.mark.parametrize("cell", ["harbour", "12 boats", "Äpfel", "港", "A7 road"])
def test_words_are_prose(cell):
    assert is_prose(cell)
    assert has_prose(f"1,2\n3,{cell}\n".encode())
