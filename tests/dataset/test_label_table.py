"""Label tables: right answers on the distributors' formats, one sentence on bad ones."""

import numpy as np
import pytest

from conftest import NAMES, random_labels, write_classes, write_table
from dataset import load_data
from dataset.label_table import read_label_table
from utils.errors import InputError

HEADER = "IMAGE\\LABEL,sea,sand\n"


@pytest.mark.parametrize("delimiter, newline", [("\t", "\r\n"), (",", "\n"), (",", "\r\n"), ("\t", "\n")])
def test_table_formats_are_told_apart_by_content(tmp_path, delimiter, newline):
    labels = random_labels(5)
    keys = ["a00", "b.with.dots", "c with space", "d,comma" if delimiter == "\t" else "d", "é"]
    write_table(tmp_path / "labels.txt", keys, labels, delimiter, newline)
    table = read_label_table(tmp_path / "labels.txt")
    assert table.names == NAMES and list(table.rows) == keys
    np.testing.assert_array_equal(np.stack(list(table.rows.values())), labels)


def test_table_with_byte_order_mark_quotes_and_blank_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffIMAGE,"sea, open",sand\n\n"a", 1 ,0\n\n'.encode())
    table = read_label_table(tmp_path / "t.csv")
    assert table.names == ["sea, open", "sand"] and table.rows["a"].tolist() == [1, 0]


@pytest.mark.parametrize("content, message", [
    ("", "is empty"), ("\n\n", "is empty"), (HEADER, "is empty"),
    (HEADER + "a,1\n", r"line 2 \('a'\): 1 label cells, but the header names 2"),
    (HEADER + "a,1,0\nb,1,0,1\n", r"line 3 \('b'\): 3 label cells"),
    (HEADER + "a,1,2\n", "must be 0 or 1, not '2'"), (HEADER + "a,1,\n", "must be 0 or 1, not ''"),
    (HEADER + "a,1,0\n" + HEADER + "b,1,0\n", "line 3 .*remove this line if it repeats the header"),
    (HEADER + "a,1,yes\n", "not 'yes'"), (HEADER + "a,1,0\nb,0,0\na,1,0\n", r"line 4 \('a'\).*already has a row above"),
    ("IMAGE,sea,sea\na,1,0\n", "distinct label names"), ("IMAGE,,sea\na,1,0\n", "distinct label names"),
    ("IMAGE\na\n", "distinct label names"), ("IMAGE,sea,Sea\na,1,0\n", "distinct label names"),
    ("IMAGE sea sand\na 1 0\n", "commas, semicolons or tabs"),
    ("IMAGE;sea;sand\na;1;0,5\n", "must be 0 or 1, not '0,5'"), ("IMAGE;sea\na;1,0\n", "must be 0 or 1, not '1,0'"),
    ("a,1.0\nb,0.0\n", r"0/1: \['1.0'\]"),
    ("a,1,0\nb,0,1\n", r"0/1: \['0', '1'\]"), (HEADER + "a" * 200_000 + ",1,0\n", "field larger"),
])
def test_bad_tables(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_label_table(tmp_path / "t.csv")
    assert str(tmp_path / "t.csv") in str(error.value)


def test_missing_and_binary_table(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_label_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="UTF-8"):
        read_label_table(tmp_path / "t.csv")


@pytest.mark.parametrize("cells", [("0. 1. 1.", "1. 0. 0."), ('"-1,1,1"', '"1,1,-1"'), ('"True,False"', '"False,True"')])
def test_vectors_in_one_column(tmp_path, cells):
    with pytest.raises(InputError, match="name no labels; give each label its column of 0 and 1"):
        read(tmp_path, f"image,labels\na,{cells[0]}\nb,{cells[1]}\n")


def test_a_row_for_each_label_of_an_image(tmp_path):
    with pytest.raises(InputError, match="already has a row above; write all labels of an image into one row"):
        read(tmp_path, "image,labels\na,sea\na,sand\n")


def test_names_that_differ_in_hyphens(tmp_path):
    with pytest.raises(InputError, match="'sea_ice' differs from 'sea-ice'"):
        read(tmp_path, "image,labels\na,sea-ice\nb,sea_ice\n")
    assert read(tmp_path, "image,label\na,-1\nb,1\n") == {"a": "-1", "b": "1"}


@pytest.mark.parametrize("names", [
    ["sea;sand", "sea", "sand", '"road,car"', '"road,tree"'], ["sea;sand", "sea", '"sand, ship"'],
    ["sea und sand", "sea", "sand"], ["sea:sand", "sea", "sand"], ["sea • sand", "sea", "sand"], ["sea\\sand", "sea", "sand"], ["sea\\nsand", "sea", "sand"],
    ["haze primary", "clear primary road", "agriculture clear primary water", "agriculture haze water road", "road haze"]])
def test_more_names_that_look_like_several(tmp_path, capsys, names):
    read(tmp_path, "image,labels\n" + "".join(f"{row},{name}\n" for row, name in enumerate(names)))
    assert "may be several labels in one" in capsys.readouterr().err


@pytest.mark.parametrize("title", ["sea.1", "is_train", "fold", "n_labels", "OBJECTID", "Total", "verified", "is_duplicate",
                                   "pred_sea", "sea_pred", "needs_review", "annotated", "iscrowd", "exclude", "nan",
                                   "No label", "n/a", "labels_nan"])
def test_columns_that_may_be_no_labels(tmp_path, capsys, title):
    (tmp_path / "t.csv").write_text(f"image,sea,{title}\na,1,1\nb,0,0\n")
    assert read_label_table(tmp_path / "t.csv").names == ["sea", title]
    assert f"1 column ({title}) may be no labels" in capsys.readouterr().err
    (tmp_path / "t.csv").write_text("image,sea,land\na,1,1\nb,0,1\n")
    read_label_table(tmp_path / "t.csv")
    assert "1 column (land) may be no labels" in capsys.readouterr().err


def test_columns_that_are_equal(tmp_path, capsys):
    read(tmp_path, "image,sea,ocean,sand,wood\na,1,1,0,0\nb,1,1,1,0\nc,0,0,1,0\nd,0,0,1,1\n")
    assert "2 labels (sea, ocean) are on the same images always; if one is a copy" in capsys.readouterr().err


@pytest.mark.parametrize("names, pairs", [
    (["harbor", "harbour"], "1 pair (harbor / harbour)"), (["ship", "ships", "sea"], "1 pair (ship / ships)"),
    (["Residential", "resdential"], "1 pair (resdential / Residential)"), (["farm", "far"], None),
    (["beach", "beaches"], "1 pair (beach / beaches)"), (["city", "cities"], "1 pair (city / cities)"),
    (["center", "centre"], "1 pair (center / centre)"), (["Vehicel", "vehicle"], "1 pair (Vehicel / vehicle)"),
    (["gray roof", "grey roof"], "1 pair (gray roof / grey roof)"), (["type_ab1", "type_ac1"], None),
    (["zone A 1", "zone B 1"], None), (["row house", "low house"], None), (["sand", "sard"], None),
    (["zonetypea", "zonetypeb"], None), (["azonetype", "bzonetype"], None),
    (["class 1", "class 11"], None), (["storage tank", "storage tanks"], "1 pair (storage tank / storage tanks)")])
def test_names_that_differ_by_a_letter(tmp_path, capsys, names, pairs):
    for table in ("image,labels\n" + "".join(f"{row},{name}\n" for row, name in enumerate(names)),
                  f"image,{','.join(names)}\n" + "".join(
                      f"{row},{','.join(str(int(row == column)) for column in range(len(names)))}\n"
                      for row in range(len(names)))):
        read(tmp_path, table)
        error = capsys.readouterr().err
        assert f"{pairs} of labels differ by a letter" in error if pairs else "by a letter" not in error


def test_a_label_called_train(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("image,car,train\na,1,0\nb,0,1\n")
    assert read_label_table(tmp_path / "t.csv").names == ["car", "train"] and not capsys.readouterr().err
    (tmp_path / "t.csv").write_text("image,car,train,test\na,1,0,1\nb,0,1,0\n")
    assert read_label_table(tmp_path / "t.csv") and "2 columns (train, test) may be no labels" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["sep=;\nimage;sea;sand\na;1;0\n", "image,sea,sand,,\na,1,0,,\n,,,,\n"])
def test_what_excel_adds(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    table = read_label_table(tmp_path / "t.csv")
    assert table.names == ["sea", "sand"] and table.rows["a"].tolist() == [1, 0]


# Tables of names

@pytest.mark.parametrize("cell, message", [
    ("sea:0.9;sand:0.1", "sand:0.1 has a score"), ("sea=1", "sea=1 has a score"), ("#REF!", "'#REF!' is no label"),
    ("3 17", "is several numbers"), ("sea 90%", "has a score"), ("sea (90%);sand (10%)", "has a score"), ("sea 0.9", "has a"),
    ("sand &amp; dunes;sea", "'&amp;' is a sign as web pages write it"), ("sea.", "'sea.' differs from 'sea'"),
    ("sea?", "'sea.' differs from 'sea'"), ("1 7;2", "is several numbers"), ("sea (0.9);sand", "has a score"),
    ("#NAME?", "is no label"), ("<NULL>", "is no label"), ("(null)", "is no label"), ("#BEZUG!", "is no label"),
    ("mask_1.PNG", "is no label"), ("??", "is no label"), ("n.a.", "is no label"), ("not labelled", "is no label"), ("to do", "is no label"),
    ("#NV", "is no label"), ("Loading...", "is no label"), ("Se a", "'Se a' differs from 'sea'"),
    ("s’ea", "differs from")])
def test_cells_that_are_no_names(tmp_path, cell, message):
    (tmp_path / "t.csv").write_text(f"image,labels\na,sea\nb,{cell}\n")
    with pytest.raises(InputError, match=f"line 3 .'b'.: .*{message}"):
        read_label_table(tmp_path / "t.csv")


@pytest.mark.parametrize("names", [
    ["0-10%", "10 - 30 %", "<90%"], ["dilution 1:10", "dilution 1:100"], ["#1", "#harbour"], ["site 1", "site 11", "site 1 1"],
    ["1.05", "1.5"], ["peche", "pêche"], ["A", "A+", "A-", "A*"], ["temp_-5", "temp_5"], ["sand&gravel", "H&M"]])
def test_names_that_are_right(tmp_path, names):
    for header in ("label", "labels"):
        content = f"image,{header}\n" + "".join(f"{number},{name}\n" for number, name in enumerate(names))
        assert list(read(tmp_path, content).values()) == names


@pytest.mark.parametrize("names", [
    ["baseball diamond", "baseballdiamond"], ["StorageTanks", "storage_tanks"], ["fisherman's wharf", "fisherman’s wharf"],
    ["site 01", "site 1"], ["forêt", "forÃªt"], ["T-junction", "T–junction"]])
def test_names_that_differ_in_signs(tmp_path, names):
    with pytest.raises(InputError, match=f"'{names[1]}' differs from '{names[0]}' above only in"):
        read(tmp_path, f"image,label\na,{names[0]}\nb,{names[1]}\n")
    with pytest.raises(InputError, match="repeated, unnamed"):
        read(tmp_path, f"image,{names[0]},{names[1]}\na,1,0\n")


def read(folder, content, known=None):
    """The names in each row of a table, as text or bytes, separated by " | "."""
    (folder / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_label_table(folder / "t.csv", known)
    return {key: " | ".join(name for name, label in zip(table.names, row) if label) for key, row in table.rows.items()}


@pytest.mark.parametrize("cells, expected", [
    (['"Beaches, dunes, sands;Inland waters"', "Moors|bog"], ["Beaches, dunes, sands | Inland waters", "Moors|bog"]),
    (['"Beaches, dunes, sands|Inland waters"', "Moors"], ["Beaches, dunes, sands | Inland waters", "Moors"]),
    (['"sea, sand"', "ship"], ["sand | sea", "ship"]), (["sea ; sand;", ""], ["sand | sea", ""]),
    (["sea (deep);(un)paved road", "farmer's land"], ["(un)paved road | sea (deep)", "farmer's land"])])
def test_one_separator_of_names_in_a_column(tmp_path, cells, expected):
    assert read(tmp_path, f"image,labels\na,{cells[0]}\nb,{cells[1]}\n") == dict(zip("ab", expected))


@pytest.mark.parametrize("cell", ["\"['sea', 'sand']\"", "['sea']", "\"('sea', 'sand')\"", "\"{'sea', 'sand'}\"",
                                  "['sea' 'sand']", "'sea'", '"""sea"""', "“sea”;sand", "sand;`sea`", "(sea)"])
def test_names_in_brackets_and_quotes(tmp_path, cell):
    with pytest.raises(InputError, match=r"t.csv, line 3 \('b'\): the label .* has brackets or quotes; write sea;sand"):
        read(tmp_path, f"image,labels\na,sea\nb,{cell}\n")
    with pytest.raises(InputError, match=r"line 3 \('b'\): the label .* has brackets or quotes; write the class alone"):
        read(tmp_path, f"image,label\na,sea\nb,{cell}\n")


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "null", "N/A", "#N/A", "<NA>", "-", "unlabeled", "TODO", "no label", "[]"])
def test_words_for_a_missing_name(tmp_path, word):
    with pytest.raises(InputError, match=r"line 3 \('b'\): '.*' is no label; leave the cell empty"):
        read(tmp_path, f"image,labels\na,sea\nb,{word}\n")
    with pytest.raises(InputError, match="is no label; give the image a class"):
        read(tmp_path, f"image,label\na,sea\nb,{word}\n")
    assert read(tmp_path, f"image,label\na,sea\nb,{word}\n", ["sea", word])["b"] == word  # it was trained with it


@pytest.mark.parametrize("cell", ["sea;sand", "sea|sand"])
def test_several_names_in_a_column_of_classes(tmp_path, cell):
    with pytest.raises(InputError, match="is not one class; several labels per image need the header image,labels"):
        read(tmp_path, f"image,label\na,sea\nb,{cell}\n")


def test_names_of_a_trained_classifier_may_hold_separators(tmp_path):
    assert read(tmp_path, "image,sea;deep,sand\na,1,0\n", known=["sea;deep", "sand"]) == {"a": "sea;deep"}
    assert read(tmp_path, 'image,labels\na,"dunes, sands"\nb,"dunes, sands;sea"\n', ["dunes, sands", "sea"]) == {
        "a": "dunes, sands", "b": "dunes, sands | sea"}
    assert read(tmp_path, 'image,labels\na,"dunes, sands"\n', ["dunes, sands", "sea"]) == {"a": "dunes, sands"}


def test_vectors_in_a_column_of_names(tmp_path):
    with pytest.raises(InputError, match="cells such as '1,0,1' name no labels; give each label its column"):
        read(tmp_path, 'image,labels\na,"1,0,1"\nb,"0,0,1"\n')
    with pytest.raises(InputError, match="cells such as '101' name no labels"):
        read(tmp_path, "image,labels\na,101\nb,001\n")
    assert read(tmp_path, "image,labels\na,0;1\nb,1\n") == {"a": "0 | 1", "b": "1"}


@pytest.mark.parametrize("other", ["sea\u200b", "\ufeffsea", "s\u00adea", "ｓｅａ", "sea_", "sea/", "sea-", "sea:"])
def test_names_that_look_alike(tmp_path, other):
    """Zero-width blanks, inner byte order marks, soft hyphens and wide letters, which copying adds; signs at the end."""
    with pytest.raises(InputError, match=r"line 3 \('b'\): label '.*' differs from 'sea' above only in case, blanks"):
        read(tmp_path, f"image,labels\na,sea\nb,{other};sand\n")
    with pytest.raises(InputError, match="distinct label names"):
        read(tmp_path, f"image,sea,{other}\na,1,0\n")


def test_a_name_of_an_invisible_sign(tmp_path):
    with pytest.raises(InputError, match=r"line 3 \('b'\): '.*' is no label"):
        read(tmp_path, "image,labels\na,sea\nb,\u200b\n")


@pytest.mark.parametrize("title", ["class", "Category", "target", "labels", "scene", "gt", "LULC", "Class ID",
                                   "ground_truth"])
def test_a_column_of_0_and_1_that_may_be_two_classes(tmp_path, title):
    with pytest.raises(InputError, match=f"is the column '{title}' of 0 and 1 a class or a label. Name it label"):
        read(tmp_path, f"image,{title}\na,0\nb,1\n")


def test_names_that_differ_in_blanks(tmp_path):
    with pytest.raises(InputError, match="'sea  ice' differs from 'sea ice' above only in case, blanks"):
        read(tmp_path, "image,labels\na,sea ice\nb,sea  ice\n")


@pytest.mark.parametrize("header", ["labels", "label"])
@pytest.mark.parametrize("names, found", [
    (["sea", "sand", "sea sand"], "1 label (sea sand)"), (["sea", "sand", "Sand+Sea"], "1 label (Sand+Sea)"),
    (["sea", "bare soil", "bare soil / sea"], "1 label (bare soil / sea)"),
    (["sea", "sand", "sea & sand", "sea_sand"], "2 labels (sea & sand, sea_sand)"),
    (["sea", "sand", "sea and sand"], "1 label (sea and sand)"),
    (["海；砂", "海、砂", "海", "砂"], "2 labels"), (["海，砂", "海"], "1 label (海，砂)"),
    (["sea+sand", "sand+ship", "ship+sea", "ship+sea+sand"], "4 labels"),
    (["sea", "sand", "and ship"], "1 label (and ship)"), (["andorra", "orchard", "sea"], None),
    (["sea - sand", "sea", "sand"], "1 label (sea - sand)"), (["pêche", "peche"], "differ from each other only in accents"),
    ([f"{a} {b}" for a in "abcde" for b in "abcde" if a != b], "20 labels"),
    (["bare-soil", "mobile-home", "sea ice", "shrub/scrub", "R&D park"], None),
    (["dense forest", "sparse forest", "dense grass", "sparse grass"], None)])
def test_names_that_look_like_combinations(tmp_path, capsys, header, names, found):
    content = f"image,{header}\n" + "".join(f"{number},{name}\n" for number, name in enumerate(names))
    assert list(read(tmp_path, content).values()) == names
    warnings = capsys.readouterr().err
    assert warnings.count("\n") == (found is not None) and (found or "") in warnings
    read(tmp_path, content, names)
    assert not capsys.readouterr().err


def test_names_with_commas_that_are_taken_for_several(tmp_path, capsys):
    names = ["Beaches, dunes, sands", "Inland waters"]
    rows = [f'{number},"{names[number % 2]}"' for number in range(6)]
    assert read(tmp_path, "\n".join(["image,labels", *rows]))["0"] == "Beaches | dunes | sands"
    warning = capsys.readouterr().err
    assert "3 labels (Beaches, dunes, ...) are on the same images always" in warning
    assert read(tmp_path, "\n".join(["image,labels", *rows]).replace(names[0], names[0] + ";"))["0"] == names[0]
    read(tmp_path, 'image,labels\na,"sea,sand"\nb,"sea,sand"\nc,sea\nd,"ship,ice"\n')
    assert not capsys.readouterr().err


def test_labels_that_are_numbered_in_the_header(tmp_path):
    for first in (0, 1):
        header = ",".join(str(number) for number in range(first, first + 3))
        assert read(tmp_path, f"image,{header}\na,1,0,1\n") == {"a": f"{first} | {first + 2}"}
    with pytest.raises(InputError, match="repeated, unnamed or 0/1"):
        read(tmp_path, "a,0,1\nb,1,1\n")


# Tables of Excel and pandas

@pytest.mark.parametrize("content", [
    "IMAGE\\LABEL;sea;sand\na;1;0\nb;1;1\n", "IMAGE/LABEL,sea,sand\na,1,0\nb,1,1\n",
    ",sea,sand\na,1.0,0.0\nb,1.0,1\n", "image,sea,sand\na,TRUE,FALSE\nb,true,True\n",
    "image;labels\na;sea\nb;sea,sand\n", 'image;labels\na;sea\nb;"sea;sand"\n',
    "image,labels\na,sea\nb,sea;sand\n", "\ufeffimage;sea;sand\r\na;1;0\r\nb;1;1\r\n;;\r\n"])
def test_tables_of_excel_and_pandas(tmp_path, content):
    assert {key: set(names.split(" | ")) for key, names in read(tmp_path, content).items()} == {
        "a": {"sea"}, "b": {"sea", "sand"}}


def test_separators_in_the_names_of_a_header(tmp_path):
    assert read(tmp_path, 'image;sea, deep;"a|b"\na;1;1\n') == {"a": "sea, deep | a|b"}
    assert read(tmp_path, '"image; file",sea,sand\na,1,0\n') == {"a": "sea"}
    assert read(tmp_path, "image, file;sea;sand\na;1;0\n") == {"a": "sea"}
    assert read(tmp_path, "image,ship\na,1.0\nb,0.0\n") == {"a": "ship", "b": ""}


@pytest.mark.parametrize("content, message", [
    (",image,sea\n0,a.png,1\n", "index=False"), ("Unnamed: 0,image,labels\n0,a,sea\n", "index=False"),
    ("index;file;sea\n1;a;1\n", "index=False"), ("sea,image\n1,a.tif\n", "first column must name the images"),
    ("image,lat,lon,sea\na,51.2,0.0,1\n", "not '51.2' .column 'lat'.*remove columns .* such as coordinates"),
    ("image,sea,lon\na,1,0.0\n", "not '0.0' .column 'lon'.*coordinates"), ("image,sea,X\na,1,1.0\n", "column 'X'"),
    ("image,sea;deep,sand\na,1,0\n", "column 'sea;deep' has a semicolon"), ('image;"a;b"\na;1\n', "column 'a;b' has"),
    ("image,labels,split\na,sea,train\n", "two columns, with the header image,labels"),
    ("image,labels\na;sea\n", r"line 2 \('a;sea'\): 1 cells, but the header has 2"),
    ("image,class\na,sea\n", "image,label for one class per image"),
    ("image,Größe\na,1\n".encode("cp1252"), "line 1: not UTF-8 .Windows-1252, perhaps.; save the table as CSV UTF-8"),
    ("image,labels\na,Stra\ufffde\n", "line 2: not UTF-8"),
    ("image,sea\na,1\n".encode("utf-16"), "is UTF-16 text; save it as CSV UTF-8"),
    ("image,sea\na,1\n".encode("utf-16-le"), "is UTF-16 text"),
    (b"PK\x03\x04\x14\x00", "is a spreadsheet; save it as CSV UTF-8"), (b"\xd0\xcf\x11\xe0\xa1", "is a spreadsheet")])
def test_tables_of_excel_and_pandas_that_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as error:
        read(tmp_path, content)
    assert str(tmp_path / "t.csv") in str(error.value)


# Tables next to the images

def test_a_table_with_capitals_next_to_class_folders(tmp_path, capsys):
    write_classes(tmp_path, {"a": 12, "b": 12})
    rows = [f"{path.name},{'xy'[number % 2]}\n" for number, path in enumerate(sorted(tmp_path.rglob("*.jpg")))]
    (tmp_path / "Labels.CSV").write_text("image,labels\n" + "".join(rows))
    (tmp_path / "labels.xlsx").write_bytes(b"PK\x03\x04")  # what it was saved from
    assert load_data("Custom", tmp_path).label_names == ["x", "y"]
    assert "ignored 1 table (labels.xlsx)" in capsys.readouterr().err
    (tmp_path / "labels.tsv").write_text("")
    with pytest.raises(InputError, match="Labels.CSV and .*labels.tsv are both label tables; remove one"):
        load_data("Custom", tmp_path)
    assert load_data("Custom", tmp_path, label_path=tmp_path / "Labels.CSV").label_names == ["x", "y"]


def test_two_tables_in_two_folders(tmp_path):
    write_classes(tmp_path / "unpacked", {"a": 12, "b": 12})
    for folder in (tmp_path, tmp_path / "unpacked"):
        (folder / "labels.csv").write_text("image,labels\n")
    with pytest.raises(InputError, match="unpacked/labels.csv and .*labels.csv are both label tables"):
        load_data("Custom", tmp_path)


@pytest.mark.parametrize("name", ["labels.xlsx", "Zuordnung.XLS", "labels.ods"])
@pytest.mark.parametrize("folders", ["", "train test"])
def test_a_spreadsheet_next_to_class_folders(tmp_path, name, folders):
    for folder in folders.split() or [""]:
        write_classes(tmp_path / folder, {"a": 12, "b": 12})
    (tmp_path / f"._{name}").write_bytes(b"")  # macOS
    assert len(load_data("Custom", tmp_path).splits["train"].images) > 10
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{name} is a spreadsheet; save it as CSV UTF-8 named labels.csv, or move it"):
        load_data("Custom", tmp_path)


def test_a_table_of_another_name_next_to_a_split(tmp_path, capsys):
    for folder in ("train", "test"):
        write_classes(tmp_path / folder, {"a": 12, "b": 12})
    (tmp_path / "Annotations.csv").write_text("image,labels\n")
    assert load_data("Custom", tmp_path).label_names == ["a", "b"]
    assert "ignored 1 table (Annotations.csv) in" in capsys.readouterr().err


def test_numbers_that_are_one_class_and_columns_without_a_name(tmp_path):
    for content, message in (("image,label\na,2\nb,2.0\n", "label '2.0' differs from '2' above only in .*zeros of a number"),
                             ("image,label\na,01\nb,1\n", "label '1' differs from '01' above"),
                             ("image,sea,Unnamed: 2\na,1,0\nb,0,1\n", "0/1: .'Unnamed: 2'")):
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(InputError, match=message):
            read_label_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("image,label\na,1\nb,10\nc,0\nd,2.5\ne,100\n")
    assert read_label_table(tmp_path / "t.csv").names == ["0", "1", "10", "100", "2.5"]
