from __future__ import annotations

import io
import tarfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kard_ray.knowledge.passage import BadRow, Document
from kard_ray.knowledge.readers import medquad
from kard_ray.knowledge.readers.medquad import MedquadCorpus, read_page
from kard_ray.runtime.errors import UserError
from tests.knowledge.readers.reading import read_all

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="other" source="GHR" url="https://example.org"><Focus>Gout</Focus><QAPairs>
<QAPair pid="1"><Question qid="7-1">What is (are) Gout ? ?</Question><Answer>
    Gout   is painful.


    - It hurts.    -  It &lt;swells&gt;.
</Answer></QAPair>
<QAPair pid="2"><Question>Why Gout ?</Question><Answer> </Answer></QAPair>
</QAPairs></Document>"""

OTHER_NAMES = """<doc docid="1" corpus="NINDS"><qaPairs>
<pair pid="3"><question>what is
 pain</question><answer>It hurts.</answer></pair></qaPairs></doc>"""

UNANSWERED = """<Document id="1" source="ADAM"><QAPairs>
<QAPair pid="1"><Question>A?</Question><Answer/></QAPair></QAPairs></Document>"""

BOMB = """<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;">]>
<Document source="X"><QAPair pid="1"><Question>?</Question><Answer>&b;</Answer></QAPair></Document>"""


def archive(tmp_path, files, name="m.tar.gz"):
    path = tmp_path / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
        for inside, content in files.items():
            content = content if isinstance(content, bytes) else content.encode()
            member = tarfile.TarInfo(inside)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return MedquadCorpus(path=str(path))


@pytest.mark.parametrize("name", ["m.tar.gz", "m.tgz", "m.tar"])
def test_each_answered_question_is_a_document(tmp_path, name):
    files = {
        "3_GHR_QA/0000007.xml": PAGE,
        "6_NINDS_QA/0000008.xml": OTHER_NAMES,
        "readme.txt": "no XML",
        "a/._b.xml": "x",
    }
    documents, bad = read_all(archive(tmp_path, files, name))
    assert documents == [
        Document(
            source_id="GHR/0000007-1",
            title="What is (are) Gout?",
            text="Gout is painful.\n\n- It hurts.\n- It <swells>.",
            source="GHR",
            language="en",
        ),
        Document(
            source_id="NINDS/0000008-3", title="what is pain", text="It hurts.", source="NINDS", language="en"
        ),
    ]
    where = f"{tmp_path / name}: 3_GHR_QA/0000007.xml, question 2"
    assert bad == [BadRow(where=where, reason="the question has no answer")]


def test_a_file_that_cannot_be_used_is_one_bad_row(tmp_path, monkeypatch):
    monkeypatch.setattr(medquad, "_MAX_FILE_BYTES", 1000)
    files = {
        "unanswered": UNANSWERED,
        "empty": "",
        "broken": PAGE[:200],
        "bomb": BOMB,
        "bomb in UTF-16": BOMB.replace("1.0", '1.0" encoding="UTF-16').encode("utf-16"),
        "encoding": '<?xml version="1.0" encoding="nosuch"?><a/>',
        "nothing": "<Document/>",
        "large": "x" * 1001,
    }
    documents, bad = read_all(archive(tmp_path, {f"{name}.xml": content for name, content in files.items()}))
    assert not documents
    found = {row.where.rpartition(": ")[2]: row.reason for row in bad}
    assert len(found) == len(bad) == len(files)
    assert found["unanswered.xml"] == "the file has no answer, and 1 questions"
    assert found["nothing.xml"] == "the file has no answer, and 0 questions"
    assert found["large.xml"] == "more than 1000 bytes"
    for name in ("bomb.xml", "bomb in UTF-16.xml"):
        assert found[name] == "not XML that can be read: it declares a document type, which is refused"
    for name in ("empty.xml", "broken.xml", "encoding.xml"):
        assert found[name].startswith("not XML that can be read: ")


@given(
    st.binary(max_size=80) | st.text(alphabet="<>/&;!DOCTYPE[]\"'= aQPir?xml", max_size=80).map(str.encode)
)
def test_no_bytes_break_the_reader(content):
    for row in read_page(content, "a/b.xml", where="w"):
        assert isinstance(row, Document | BadRow)


def test_an_archive_that_was_cut_off_is_told_and_not_taken_for_a_short_one(tmp_path):
    corpus = archive(tmp_path, {f"a/{n}.xml": PAGE + f"<!-- {n * 7919 % 1000} -->" for n in range(200)})
    content = (tmp_path / "m.tar.gz").read_bytes()
    for length in (0, 5, len(content) // 2, len(content) - 4):
        (tmp_path / "m.tar.gz").write_bytes(content[:length])
        with pytest.raises(
            UserError, match=r"m\.tar\.gz cannot be read: .*; check that it is there and complete"
        ):
            read_all(corpus)
    with pytest.raises(UserError, match=r"corpus\.path: no file matches"):
        MedquadCorpus(path=str(tmp_path / "none.tar.gz")).fingerprint()


def test_the_public_archive_is_read(public_data):
    documents, bad = read_all(MedquadCorpus(path=str(public_data / "medqa" / "MedQuAD.tar.gz")))
    # 16,407 answers under the usual names, and 16 in the four files that use others.
    assert len(documents) == 16_407 + 16
    assert len({document.source_id for document in documents}) == len(documents)
    assert Counter(document.source for document in documents).most_common(2) == [
        ("GHR", 5430),
        ("GARD", 5389),
    ]
    assert all(document.title and document.language == "en" for document in documents)
    assert Counter(row.reason.partition(",")[0] for row in bad) == {
        "the file has no answer": 5784,
        "the question has no answer": 4,
    }
