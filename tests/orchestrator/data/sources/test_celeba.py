import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from layouts import write_zip
from preparing import prepared_here, tree

from orchestrator.base.errors import InputError
from orchestrator.data.prepare.rows import Options
from orchestrator.data.reading.image_bytes import read_many
from orchestrator.data.sources.registry import open_source
from orchestrator.data.sources.source import Source

ATTRIBUTES = """4
Bald Blond_Hair Eyeglasses Male
000001.jpg -1  1 -1 -1
000002.jpg -1 -1  1  1
000003.jpg -1  1  1 -1
000004.jpg  1 -1 -1  1
"""


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    (tmp_path / "list_attr_celeba.txt").write_text(ATTRIBUTES)
    (tmp_path / "list_eval_partition.txt").write_text(
        "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n000004.jpg 0\n"
    )
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 7\n000003.jpg 9\n000004.jpg 7\n")
    return tmp_path


def open_(folder: Path, label: str = "Blond_Hair|Eyeglasses", group: str = "Male") -> Source:
    return open_source(str(folder), label=label, group=group)


def test_a_celeba_folder(celeba: Path) -> None:
    source = open_(celeba)
    table = source.table
    assert table["filename"].tolist() == [f"00000{k}.jpg" for k in (1, 2, 3, 4)]
    assert table["path"].iloc[0] == f"{celeba}/img_align_celeba/000001.jpg"
    assert table["label"].tolist() == [1, 1, 1, 0]
    assert table["gender"].tolist() == [-1, 1, -1, 1]
    assert table["split"].tolist() == ["train", "val", "test", "train"]
    assert table["identity"].fillna(-1).tolist() == [7, -1, 9, 7]
    assert str(table["label"].dtype) == str(table["gender"].dtype) == "int8"
    assert "Blond_Hair|Eyeglasses by Male" in source.name


def test_the_attributes(celeba: Path) -> None:
    path = celeba / "list_attr_celeba.txt"
    head, names, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, names, *reversed(rows)]) + "\n")
    source = open_(celeba)
    assert source.table["filename"].tolist() == [f"00000{k}.jpg" for k in (1, 2, 3, 4)]
    assert source.attributes is not None
    assert source.attributes.index.tolist() == [0, 1, 2, 3]
    assert source.attributes.to_dict("list") == {
        "Bald": [False, False, False, True],
        "Blond_Hair": [True, False, True, False],
        "Eyeglasses": [False, True, True, False],
        "Male": [False, True, False, True],
    }


IMAGES = {f"00000{k}.jpg": b"image %d" % k for k in (1, 2, 4)}


@pytest.mark.parametrize("top", ["img_align_celeba/", ""])
def test_the_archive_as_it_is_downloaded(celeba: Path, top: str) -> None:
    write_zip(celeba / "img_align_celeba.zip", {top + name: data for name, data in IMAGES.items()})
    source = open_(celeba)
    one, two, missing, four = read_many(source.table["path"].tolist())
    assert [one, two, four] == list(IMAGES.values())
    assert isinstance(missing, FileNotFoundError)
    assert not (celeba / "img_align_celeba").exists()
    write_zip(celeba / "other" / "faces.zip", dict.fromkeys(IMAGES, b"other"))
    elsewhere = open_source(str(celeba), images=str(celeba / "other" / "faces.zip"))
    assert list(read_many(elsewhere.table["path"].tolist()[:2])) == [b"other"] * 2
    assert elsewhere.fingerprint == source.fingerprint


def test_a_folder_of_images_comes_before_an_archive(celeba: Path) -> None:
    write_zip(celeba / "img_align_celeba.zip", IMAGES)
    (celeba / "img_align_celeba").mkdir()
    assert open_(celeba).table["path"].iloc[0] == f"{celeba}/img_align_celeba/000001.jpg"


def test_an_archive_that_is_cut_short_is_named(celeba: Path) -> None:
    path = write_zip(celeba / "img_align_celeba.zip", IMAGES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"img_align_celeba\.zip: not a zip archive, or a damaged"):
        open_(celeba)


def test_the_archive_alone_has_no_labels(celeba: Path) -> None:
    path = write_zip(celeba / "img_align_celeba.zip", IMAGES)
    with pytest.raises(InputError) as caught:
        open_(path)
    assert str(caught.value) == (
        f"{path}: a zip archive of images has no labels; give the CelebA folder that it lies in, "
        f"a manifest with --images {path}, or --layout class/gender if its folders say so"
    )


def test_the_lists_beside_the_attributes_are_optional(celeba: Path) -> None:
    (celeba / "list_eval_partition.txt").unlink()
    (celeba / "identity_CelebA.txt").unlink()
    table = open_(celeba).table
    assert table["split"].isna().all()
    assert table["identity"].isna().all()


def test_torchvisions_root_is_fine_too(
    celeba: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "celeba").symlink_to(celeba)
    assert open_(root).fingerprint == open_(celeba).fingerprint


@pytest.mark.parametrize(
    ("rule", "labels"),
    [
        ("Blond_Hair", [1, 0, 1, 0]),
        ("Blond_Hair&Eyeglasses", [0, 0, 1, 0]),
        ("Blond_Hair ^ Eyeglasses", [1, 1, 0, 0]),
        ("Bald|Blond_Hair&Eyeglasses", [0, 0, 1, 1]),  # and binds more tightly than or
    ],
)
def test_rules(celeba: Path, rule: str, labels: list[int]) -> None:
    assert open_(celeba, rule).table["label"].tolist() == labels


def test_an_attribute_that_does_not_exist_lists_those_near_it(celeba: Path) -> None:
    with pytest.raises(
        InputError, match=r"--label Blond_Hari: no such attribute.*near: Blond_Hair"
    ):
        open_(celeba, "Blond_Hari|Eyeglasses")
    with pytest.raises(InputError, match=r"--group male: no such attribute.*near: .*Male"):
        open_(celeba, group="male")
    with pytest.raises(InputError, match="--label : no such attribute"):
        open_(celeba, "Blond_Hair|")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("list_attr_celeba.txt", ("4\n", "5\n"), "line 1 says 5 images, 4 follow"),
        ("list_attr_celeba.txt", ("4\nBald Blond_Hair Eyeglasses Male\n", ""), "not CelebA's list"),
        (
            "list_attr_celeba.txt",
            ("02.jpg -1 -1  1", "02.jpg -1 -1"),
            "line 4: expected a file name",
        ),
        ("list_attr_celeba.txt", ("03.jpg -1  1", "03.jpg -1  2"), "line 5: expected a file name"),
        (
            "list_attr_celeba.txt",
            ("03.jpg -1  1", "03.jpg -1  0"),
            "line 5 has 0 and line 3 has -1",
        ),
        ("list_attr_celeba.txt", ("000004", "000001"), "row 4: 000001.jpg is already in row 1"),
        (
            "list_attr_celeba.txt",
            ("000002.jpg", "../x.jpg"),
            "row 2: ../x.jpg is outside the image",
        ),
        ("list_eval_partition.txt", ("jpg 2", "jpg 3"), "line 3: .* below 3, found 000003.jpg 3"),
        ("identity_CelebA.txt", ("jpg 9", "jpg nine"), "line 2: expected a file name and a whole"),
    ],
)
def test_a_bad_line_is_named(
    celeba: Path, file: str, change: tuple[str, str], message: str
) -> None:
    path = celeba / file
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(InputError, match=message) as caught:
        open_(celeba)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_folder_without_the_list(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"list_attr_celeba\.txt: no such file; give a CelebA folder"
    ):
        open_(tmp_path)


def test_one_gender_only(celeba: Path) -> None:
    path = celeba / "list_attr_celeba.txt"
    path.write_text(path.read_text().replace(" -1\n", "  1\n"))
    with pytest.raises(InputError, match="no women among 4 faces"):
        open_(celeba)


@pytest.mark.realdata
def test_real_faces(celeba10k: Path) -> None:
    table = open_(celeba10k).table
    counts = table.groupby(["gender", "label"]).size().to_dict()
    assert counts == {(-1, 0): 4284, (-1, 1): 1499, (1, 0): 3619, (1, 1): 598}
    assert table["identity"].nunique() == 5429
    assert set(table["split"]) == {"train"}
    manifest = open_source(
        str(celeba10k / "manifest.csv"), images=str(celeba10k / "img_align_celeba")
    ).table
    same = ["filename", "path", "label", "gender"]
    assert manifest[same].equals(table[same])


LISTS = ("list_attr_celeba", "list_eval_partition", "identity_CelebA")


def as_csv(folder: Path, heads: tuple[str, ...] = ("partition", "identity")) -> None:
    """Turn the lists into CSV files with a header, as Kaggle has them."""
    for name, head in zip(LISTS, (None, *heads), strict=True):
        rows = [line.split() for line in (folder / f"{name}.txt").read_text().splitlines()]
        rows = [["image_id", *rows[1]], *rows[2:]] if head is None else [["image_id", head], *rows]
        (folder / f"{name}.csv").write_text("".join(",".join(row) + "\n" for row in rows))
        (folder / f"{name}.txt").unlink()


def kaggles(folder: Path) -> str:
    as_csv(folder)
    (folder / "img_align_celeba" / "img_align_celeba").mkdir(parents=True)
    return "img_align_celeba/img_align_celeba/000001.jpg"


def the_authors(folder: Path) -> str:
    for below in ("Anno", "Eval", "Img"):
        (folder / below).mkdir()
    for name, below in zip(LISTS, ("Anno", "Eval", "Anno"), strict=True):
        (folder / f"{name}.txt").rename(folder / below / f"{name}.txt")
    (folder / "Img" / "img_align_celeba").mkdir()
    return "Img/img_align_celeba/000001.jpg"


def as_png(folder: Path) -> str:
    the_authors(folder)
    (folder / "Img" / "img_align_celeba").rename(folder / "Img" / "img_align_celeba_png")
    return "Img/img_align_celeba_png/000001.png"


def hq(folder: Path) -> str:
    (folder / "list_attr_celeba.txt").rename(folder / "CelebAMask-HQ-attribute-anno.txt")
    (folder / "CelebA-HQ-img").mkdir()
    return "CelebA-HQ-img/000001.jpg"


def bom_and_crlf(folder: Path) -> str:
    for name in LISTS:
        file = folder / f"{name}.txt"
        text = file.read_text().replace("\n", "\r\n") + "\r\n\r\n"
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return "img_align_celeba/000001.jpg"


def without_the_count(folder: Path) -> str:
    file = folder / "list_attr_celeba.txt"
    file.write_text(file.read_text().partition("\n")[2])
    return "img_align_celeba/000001.jpg"


def zeros_and_ones(folder: Path) -> str:
    file = folder / "list_attr_celeba.txt"
    file.write_text(file.read_text().replace(" -1", " 0"))
    return "img_align_celeba/000001.jpg"


@pytest.mark.parametrize(
    "lay_out",
    [kaggles, the_authors, as_png, hq, bom_and_crlf, without_the_count, zeros_and_ones],
)
def test_each_layout_is_the_same_source(
    celeba: Path, lay_out: Callable[[Path], str], tmp_path: Path
) -> None:
    before = open_(celeba)
    image = lay_out(celeba)
    source = open_(celeba)
    assert source.fingerprint == before.fingerprint
    assert source.name == before.name
    assert source.attributes is not None
    assert source.attributes.equals(before.attributes)
    assert source.table["path"].iloc[0] == f"{tmp_path}/{image}"
    assert source.table["filename"].iloc[0] == "000001.jpg"
    (note,) = source.notes
    assert note.startswith(f"{celeba}: CelebA, attributes in ")
    assert f"images in {image.rpartition('/')[0]}; class 1: Blond_Hair|Eyeglasses" in note


def test_the_authors_zip(celeba: Path) -> None:
    the_authors(celeba)
    (celeba / "Img" / "img_align_celeba").rmdir()
    members = {f"img_align_celeba/{name}": data for name, data in IMAGES.items()}
    write_zip(celeba / "Img" / "img_align_celeba.zip", members)
    source = open_(celeba)
    assert next(read_many(source.table["path"].tolist())) == b"image 1"
    assert "images in Img/img_align_celeba.zip" in source.notes[0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_part_of_the_images(celeba: Path, packed: bool) -> None:
    if packed:
        write_zip(celeba / "img_align_celeba.zip", IMAGES)
    else:
        (celeba / "img_align_celeba").mkdir()
        for name, data in IMAGES.items():
            (celeba / "img_align_celeba" / name).write_bytes(data)
    whole, part = open_(celeba), open_source(str(celeba), missing="drop")
    assert len(whole.table) == 4
    assert part.table["filename"].tolist() == list(IMAGES)
    assert part.table.equals(whole.table.drop(2).reset_index(drop=True))
    assert part.fingerprint != whole.fingerprint
    assert part.attributes is not None
    assert part.attributes["Bald"].tolist() == [False, False, True]
    assert part.notes[-1] == f"{celeba}: 1 of 4 images are not there"


def test_what_cannot_be_left_out(celeba: Path) -> None:
    with pytest.raises(InputError, match="none of the 4 images is there; give --images"):
        open_source(str(celeba), missing="drop")
    with pytest.raises(InputError, match="--missing drop: synthetic:9 is drawn; leave --missing"):
        open_source("synthetic:9", missing="drop")
    with pytest.raises(InputError, match="--label Bald: synthetic:9 is drawn; leave --label out"):
        open_source("synthetic:9", label="Bald")


@pytest.mark.parametrize("rule", ["Blond_Hair OR Eyeglasses", "Blond_Hair|Eyeglasses"])
def test_a_rule_as_inspect_writes_it(celeba: Path, rule: str) -> None:
    assert open_(celeba, rule).table["label"].tolist() == [1, 1, 1, 0]


@pytest.mark.realdata
@pytest.mark.parametrize("lay_out", [kaggles, the_authors])
def test_real_faces_in_other_layouts(
    celeba10k: Path, tmp_path: Path, lay_out: Callable[[Path], str]
) -> None:
    folder = tmp_path / celeba10k.name
    folder.mkdir()
    for name in LISTS:
        shutil.copyfile(celeba10k / f"{name}.txt", folder / f"{name}.txt")
    images = (folder / lay_out(folder)).parent
    images.rmdir()
    images.symlink_to(celeba10k / "img_align_celeba")
    options = Options(image_size=8, split_by="identity", limit=400)
    stores = []
    for where in (celeba10k, folder):
        prepared_here(open_(where), tmp_path / f"data{len(stores)}", options)
        stores.append(tree(tmp_path / f"data{len(stores)}"))
    assert stores[0] == stores[1]
