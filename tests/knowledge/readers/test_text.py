from __future__ import annotations

import datetime
import json
import os

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.passage import Document
from kard_ray.knowledge.readers import text
from kard_ray.knowledge.readers.markdown import read_page
from kard_ray.knowledge.readers.text import TextCorpus
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all


def folder(tmp_path, files):
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return TextCorpus(path=str(tmp_path))


def page(content, name="notes/page.md"):
    found = read_page(content, name)
    return found["title"], found["text"]


def test_each_file_is_a_document_with_its_relative_path_as_id(tmp_path):
    corpus = folder(
        tmp_path,
        {
            "b.txt": "Bees\n\nThey pollinate.\n",
            "deep/er/a.MD": "# Ants\nThey dig.",
            ".git/c.md": "hidden",
            "d.rst": "other",
        },
    )
    documents, bad = read_all(corpus)
    assert documents == [
        Document(source_id="b.txt", title="Bees", text="They pollinate."),
        Document(source_id="deep/er/a.MD", title="Ants", text="They dig."),
    ]
    assert not bad
    other = TextCorpus(path=f"{tmp_path}/", patterns=["*.rst"])
    assert [d.source_id for d in read_all(other)[0]] == ["d.rst"]


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("# Title\n\nBody", "Title", "Body"),
        ("\n## Title ##\nBody\n# More\n", "Title", "Body\n# More"),
        ("Before\n\n# Title\nBody", "Title", "Before\n\n# Title\nBody"),
        ("Title\n=====\nBody", "Title", "Body"),
        ("A paragraph\nof two lines\n---\nBody", "A paragraph", "of two lines\n---\nBody"),
        ("```\n# no heading\n```\n# Title\n", "Title", "```\n# no heading\n```\n# Title"),
        ("#hashtag\nBody", "#hashtag", "Body"),
        ("# Title", "Title", "# Title"),
        ("One line only", "page", "One line only"),
        ("x" * 130 + "\nBody", "page", "x" * 130 + "\nBody"),
        ("# Title\r\n\r\nBody\r\nmore", "Title", "Body\nmore"),
    ],
)
def test_a_title_is_found_in_markdown(content, title, text):
    assert page(content) == (title, text)


@pytest.mark.parametrize(
    ("content", "title", "text"),
    [
        ("Title\nBody", "Title", "Body"),
        ("# no heading\nBody", "# no heading", "Body"),
        ("\n\n  One line\n\n", "page", "  One line"),
    ],
)
def test_a_title_is_found_in_plain_text(content, title, text):
    assert page(content, "notes/page.txt") == (title, text)


def test_front_matter_gives_title_date_and_language():
    found = read_page(
        "---\ntitle: The Title\ndate: 2024-01-31\nlang: de\ntags: [a]\n---\n# Heading\nBody", "a.md"
    )
    assert found == {
        "title": "The Title",
        "date": datetime.date(2024, 1, 31),
        "language": "de",
        "text": "# Heading\nBody",
    }
    same = read_page("---\ntitle: Heading\ndate: 2024-01-31 10:00:00 +0200\n---\n# Heading\nBody", "a.md")
    assert same == {"title": "Heading", "date": datetime.date(2024, 1, 31), "language": None, "text": "Body"}


def test_front_matter_values_of_other_kinds_are_left_out():
    found = read_page("---\ntitle: [a]\ndate: soon\nlanguage: 5\n---\n# Heading\nBody", "a.md")
    assert found == {"title": "Heading", "date": None, "language": None, "text": "Body"}


@pytest.mark.parametrize(
    "front",
    [
        "just text",
        "- a\n- b",
        "title: [",
        "title: !!bool x",
        "date: 2024-13-45",
        "title: x\n!!python/name:os.system x",
    ],
)
def test_front_matter_that_is_no_mapping_is_text(front):
    content = f"---\n{front}\n---\nBody"
    assert page(content) == ("page", content)


def test_aliases_that_would_expand_to_gigabytes_do_no_harm():
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    content = "\n".join(["---", *rows, "title: *a11", "date: *a11", "---", "Body"])
    assert page(content) == ("page", "Body")


@given(
    st.one_of(
        st.text(max_size=50),
        st.text(alphabet="#-=`~ \nab:!&*[]{}\"'", max_size=60),
        st.text(alphabet="ab:!&*[]{}\"'\\ud-\n #|>%@0", max_size=40).map(lambda t: f"---\n{t}\n---\nBody"),
    ),
    st.sampled_from(["a.md", "a.txt"]),
)
def test_no_page_breaks_it_and_no_line_is_lost(content, name):
    found = read_page(content, name)
    assert found["title"]
    assert bool(found["text"].strip()) == bool(content.strip()) or content.startswith("---")
    lines = content.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")
    if not content.startswith("---"):
        assert len(lines) - len(found["text"].strip().split("\n")) <= 2 + lines.count("")


def test_unreadable_files_are_bad_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_MAX_BYTES", 50)
    corpus = folder(
        tmp_path,
        {
            "a.txt": b"caf\xe9",
            "b.txt": "",
            "c.txt": " \n",
            "d.txt": "x" * 51,
            "e.md": '---\ntitle: "\\uD800"\n---\nBody',
            "f.md": "---\ntitle: x\n---\n",
            "g.txt": "\ufeffgood",
        },
    )
    (tmp_path / "h\udcff.txt").write_text("a name that is not UTF-8")
    documents, bad = read_all(corpus)
    assert [(d.source_id, d.text) for d in documents] == [("g.txt", "good")]
    assert [(row.where.removeprefix(f"{tmp_path}/"), row.reason.partition(", e")[0]) for row in bad] == [
        ("a.txt", "not UTF-8: byte 3 is 0xe9"),
        ("b.txt", "the file has no text"),
        ("c.txt", "the file has no text"),
        ("d.txt", "more than 50 bytes"),
        ("e.md", "field title: half of a surrogate pair or bytes that are not UTF-8"),
        ("f.md", "field text: expected text that is not empty, got ''"),
        ("h\\udcff.txt", "the file's name is not UTF-8"),
    ]
    bad[-1].where.encode()


def test_links_that_lead_out_of_the_folder_are_told_and_not_followed(tmp_path):
    secret = tmp_path / "secret"
    corpus = folder(tmp_path / "corpus", {"a.txt": "good", "sub/b.txt": "good"})
    folder(secret, {"s.txt": "secret"})
    root = tmp_path / "corpus"
    for link, target in [
        ("file.txt", secret / "s.txt"),
        ("folder", secret),
        ("self", root),
        ("inside.txt", root / "a.txt"),
        ("nowhere.txt", root / "none.txt"),
        ("passwd", "/etc/passwd"),
    ]:
        os.symlink(target, root / link)
    for path in (root, tmp_path / "link"):
        if path != root:
            os.symlink(root, path)
        documents, bad = read_all(TextCorpus(path=str(path)))
        assert [d.source_id for d in documents] == ["a.txt", "inside.txt", "sub/b.txt"]
        assert not any("secret" in d.text for d in documents)
        assert [(os.path.basename(row.where), row.reason) for row in bad] == [
            ("file.txt", "a symbolic link that leads out of the folder, which is not followed"),
            ("folder", "a symbolic link to a folder, which is not followed"),
            ("nowhere.txt", "a symbolic link that leads nowhere"),
            ("self", "a symbolic link to a folder, which is not followed"),
        ]
    assert corpus.fingerprint()


def test_a_folder_is_found_from_another_directory(tmp_path, monkeypatch):
    folder(tmp_path / "notes", {"a.txt": "x"})
    monkeypatch.chdir(tmp_path)
    corpus = TextCorpus(path="notes")
    (shard,) = corpus.shards()
    monkeypatch.chdir("/")
    assert list(corpus.read(shard)) == [Document(source_id="a.txt", title="a", text="x")]


def test_many_files_are_divided_among_shards(tmp_path):
    corpus = folder(tmp_path, {f"{n:03}.txt": str(n) for n in range(130)})
    assert [len(json.loads(shard)[1]) for shard in corpus.shards()] == [64, 64, 2]
    assert [d.text for d in read_all(corpus)[0]] == [str(n) for n in range(130)]


def test_the_fingerprint_follows_contents_and_names(tmp_path):
    corpus = folder(tmp_path, {"a.txt": "x", "b.txt": "y", "c.pdf": "z"})
    seen = [corpus.fingerprint()]
    (tmp_path / "c.pdf").write_text("not read")
    assert corpus.fingerprint() == seen[0]
    (tmp_path / "a.txt").write_text("z")
    seen.append(corpus.fingerprint())
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    seen.append(corpus.fingerprint())
    assert len(set(seen)) == 3


def test_a_folder_without_a_fitting_file_is_told(tmp_path):
    corpus = folder(tmp_path, {"a.pdf": "x"})
    for call in (corpus.shards, corpus.fingerprint):
        with pytest.raises(
            UserError, match=r"corpus\.path: folder .* holds no file that fits \*\.txt, \*\.md"
        ):
            call()
    for path in ("a.pdf", "none"):
        with pytest.raises(UserError, match=r"corpus\.path: expected a folder, .* is none"):
            TextCorpus(path=str(tmp_path / path)).shards()


def test_other_file_systems_are_read():
    fs = fsspec.filesystem("memory")
    fs.pipe({"/notes/a.md": b"# Ants\nThey dig.", "/notes/deep/b.txt": b"x", "/notes/.c.txt": b"hidden"})
    try:
        corpus = TextCorpus(path="memory://notes")
        documents, bad = read_all(corpus)
        assert [(d.source_id, d.title) for d in documents] == [("a.md", "Ants"), ("deep/b.txt", "b")]
        assert not bad
        assert corpus.fingerprint() == corpus.fingerprint()
    finally:
        fs.rm("/notes", recursive=True)
