"""How well retrieval found what was judged relevant: Hits@k, recall@k, nDCG@10 and MRR@10, with intervals.

The measures are those of ``ir_measures`` (trec_eval's and MS MARCO's code), so that figures compare with published
ones: nDCG takes the grade itself as gain and log2 as discount (Järvelin and Kekäläinen 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from kard_ray.evaluation.scoring import wilson_interval
from kard_ray.runtime.errors import UserError

DEPTH = 10  # of nDCG and MRR
_RESAMPLES = 2000


def retrieval_scores(
    found: pa.Table,
    relevant: Mapping[str, Mapping[str, int]],
    ks: Sequence[int] = (1, 3, 10),
    *,
    documents: Mapping[str, str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Averages over the judged queries, from 0 to 1, each with its 95 % interval, and their number ``n``.

    Names are ``hits@k``, ``recall@k`` (both for each of ``ks``), ``ndcg@10`` and ``mrr@10``; bounds end in ``_low``
    and ``_high``. Arguments and errors are those of :func:`values_by_query`; intervals those of :func:`interval`.
    """
    scores: dict[str, float] = {}
    values = values_by_query(found, relevant, ks, documents=documents)
    for name, by_query in values.items():
        scores[name] = float(np.mean(list(by_query.values())))
        scores[f"{name}_low"], scores[f"{name}_high"] = interval(name, by_query, seed=seed)
    return scores | {"n": len(values[f"ndcg@{DEPTH}"])}


def values_by_query(
    found: pa.Table,
    relevant: Mapping[str, Mapping[str, int]],
    ks: Sequence[int] = (1, 3, 10),
    *,
    documents: Mapping[str, str] | None = None,
) -> dict[str, dict[str, float]]:
    """Each measure's value of each judged query, in the order of ``relevant``.

    ``found`` has the schema RETRIEVED; ``relevant`` maps a query to the grades of its passages, or of its documents
    when ``documents`` maps passage ids to document ids. A query is judged if one of its grades is above 0; one for
    which nothing was found counts 0, and rows of other queries are ignored. Raises UserError if no query is judged.
    """
    # Imported here: the commands that print help do without it.
    import ir_measures

    judged = {
        query: {wanted: max(0, grade) for wanted, grade in grades.items()}
        for query, grades in relevant.items()
        if any(grade > 0 for grade in grades.values())
    }
    if not judged:
        raise UserError(
            "none of the queries has a passage that is judged relevant; expected a grade above 0."
        )
    run = {
        # ir_measures sorts by score, so the place in the ranking is made the score.
        query: {item: -float(place) for place, item in enumerate(items)}
        for query, items in best_per_document(found, documents).items()
        if query in judged
    }
    measures: dict[Any, str] = {}
    measures |= {ir_measures.Success @ k: f"hits@{k}" for k in ks}
    measures |= {ir_measures.R @ k: f"recall@{k}" for k in ks}
    measures |= {ir_measures.nDCG @ DEPTH: f"ndcg@{DEPTH}", ir_measures.RR @ DEPTH: f"mrr@{DEPTH}"}
    values = {name: dict.fromkeys(judged, 0.0) for name in measures.values()}
    for metric in ir_measures.iter_calc(list(measures), judged, run):
        values[measures[metric.measure]][metric.query_id] = float(metric.value)
    return values


def best_per_document(found: pa.Table, documents: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """The ids found for each query by rank; one found several times stands at its best rank only.

    With ``documents``, which maps passage ids to document ids, these are documents; ValueError if it lacks one.
    """
    places: dict[str, list[tuple[int, int, str]]] = {}
    columns = (found[name].to_pylist() for name in ("query_id", "rank", "passage_id"))
    for row, (query, rank, passage) in enumerate(zip(*columns, strict=True)):
        if documents is not None and passage not in documents:
            raise ValueError(f"passage {passage!r} was found, but the document it was cut from is not given")
        item = passage if documents is None else documents[passage]
        places.setdefault(query, []).append((rank, row, item))
    return {
        query: list(dict.fromkeys(item for _, _, item in sorted(ranked))) for query, ranked in places.items()
    }


def interval(name: str, by_query: Mapping[str, float], *, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a measure's average over queries.

    Hits are shares, theirs is Wilson's; for the others it is the percentile bootstrap over queries, 2,000 resamples
    drawn with ``seed``.
    """
    values = np.array(list(by_query.values()), dtype=np.float64)
    if name.startswith("hits@"):
        return wilson_interval(round(values.sum()), len(values))
    draw = np.random.default_rng(seed)
    averages = [values[draw.integers(len(values), size=len(values))].mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(averages, (0.025, 0.975))
    return float(low), float(high)


def print_retrieval_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """One line per row: ``mode``, ``queries`` (their kind), the scores, and ``queries_per_second`` (None: unknown).

    Scores are as :func:`retrieval_scores` names them; one that a row lacks is shown as "–".
    """
    console = Console(width=None if Console().is_terminal else 120)
    table = Table(title="Retrieval, averages over the judged queries")
    shares = {f"hits@{k}": f"Hits@{k}" for k in (1, 3, 10)} | {"recall@10": "recall@10"}
    for name in ("mode", "queries"):
        table.add_column(name)
    for name in (*shares.values(), f"nDCG@{DEPTH}", "95 % interval", f"MRR@{DEPTH}", "n", "queries/s"):
        table.add_column(name, justify="right")
    for row in rows:
        low, high = row.get(f"ndcg@{DEPTH}_low"), row.get(f"ndcg@{DEPTH}_high")
        table.add_row(
            row["mode"],
            row["queries"],
            *(_shown(row.get(name), ".1%") for name in shares),
            _shown(row.get(f"ndcg@{DEPTH}"), ".3f"),
            f"{_shown(low, '.3f')} – {_shown(high, '.3f')}" if low is not None else "–",
            _shown(row.get(f"mrr@{DEPTH}"), ".3f"),
            _shown(row.get("n"), ",.0f"),
            _shown(row.get("queries_per_second"), ",.1f"),
        )
    console.print(table)


def print_by_kind(rows: Iterable[Mapping[str, Any]]) -> None:
    """Hits@k with their 95 % intervals, one line per row that has a ``kind``."""
    console = Console(width=None if Console().is_terminal else 120)
    table = Table(title="Hits@k by kind of question, with 95 % intervals")
    for name in ("kind", "mode", "queries"):
        table.add_column(name)
    names = [f"hits@{k}" for k in (1, 3, 10)]
    for name in (*(name.capitalize() for name in names), "n"):
        table.add_column(name, justify="right")
    for row in sorted((row for row in rows if row["kind"]), key=lambda row: row["kind"]):
        cells = [
            f"{row[name]:.1%} [{row[f'{name}_low']:.1%}, {row[f'{name}_high']:.1%}]".replace("%", " %")
            for name in names
        ]
        table.add_row(row["kind"], row["mode"], row["queries"], *cells, f"{row['n']:,.0f}")
    console.print(table)


def _shown(value: float | None, pattern: str) -> str:
    return "–" if value is None else format(value, pattern).replace("%", " %")
