"""The compiled loops of the BM25 index: counting, scoring, searching."""

# numba finds the types of the functions below when they are called
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_FIRST = 4096  # documents of the first block; each next one is twice as wide
_CHUNK = 256  # sums that are compared with the score to beat at once
_SPARSE = 4  # a block with less than one posting per this many documents is read by its postings (1.2 times as fast)


def _compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use and keep the machine code on disk, so that other processes load it in 0.1 s.

    Numba keeps it beside this file or, where that cannot be written, in the user's cache folder; where neither can
    be, each process compiles.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@_compiled
def count_postings(tokens, ends, local, terms, start):
    """Count tokens into postings by term, documents ascending.

    ``tokens`` of all documents one after the other, -1 to be skipped; ``ends[d]`` where document d ends; ``local``
    maps a token to its number among ``terms`` terms; documents are numbered from ``start``.
    Returns (lengths per document, indptr, docs, frequencies).
    """
    many = np.zeros(terms + 1, np.int64)
    for token in tokens:
        if token >= 0:
            many[local[token] + 1] += 1
    begin = np.cumsum(many)
    cursor = begin[:-1].copy()
    docs = np.empty(begin[-1], np.int32)
    frequencies = np.empty(begin[-1], np.int32)
    lengths = np.zeros(len(ends), np.int32)
    at = 0
    for doc in range(len(ends)):
        while at < ends[doc]:
            if tokens[at] >= 0:
                term = local[tokens[at]]
                lengths[doc] += 1
                put = cursor[term]
                if put > begin[term] and docs[put - 1] == start + doc:
                    frequencies[put - 1] += 1
                else:
                    docs[put] = start + doc
                    frequencies[put] = 1
                    cursor[term] = put + 1
            at += 1
    indptr = np.zeros(terms + 1, np.int64)
    for term in range(terms):  # close the gaps that repeated terms left
        put = indptr[term]
        for source in range(begin[term], cursor[term]):
            docs[put] = docs[source]
            frequencies[put] = frequencies[source]
            put += 1
        indptr[term + 1] = put
    return lengths, indptr, docs[: indptr[-1]].copy(), frequencies[: indptr[-1]].copy()


@_compiled
def score_postings(numbers, indptr, part_docs, part_freq, first, idf, norms, k1, cursor, docs, scores):
    """Append one part's postings of the terms ``numbers`` to ``docs`` and ``scores``.

    ``cursor[t - first]`` is where the next posting of term t goes.
    """
    for at in range(len(numbers)):
        term = numbers[at]
        put = cursor[term - first]
        for source in range(indptr[at] - indptr[0], indptr[at + 1] - indptr[0]):
            frequency = np.float64(part_freq[source])
            doc = part_docs[source]
            docs[put] = doc
            scores[put] = np.float32(idf[term] * (frequency * (k1 + 1.0) / (frequency + norms[doc])))
            put += 1
        cursor[term - first] = put


@_compiled
def _first_from(docs, low, high, wanted):
    """The first place in docs[low:high], ascending, whose value is at least ``wanted``; ``high`` if there is none."""
    step = 1
    while low + step < high and docs[low + step] < wanted:  # gallop, then halve what is left
        low += step
        step *= 2
    high = min(high, low + step + 1)
    while low < high:
        middle = (low + high) >> 1
        if docs[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled
def _worse(score_a, place_a, score_b, place_b):
    """Whether a stands after b: less score or, at the same score, the greater passage id."""
    return score_a < score_b or (score_a == score_b and place_a > place_b)


@_compiled
def _sink(scores, places, found, size, score, place, doc):
    """Put a document in the place of the heap's root, the worst, and let it sink to where it belongs."""
    at = 0
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        if down + 1 < size and _worse(scores[down + 1], places[down + 1], scores[down], places[down]):
            down += 1
        if not _worse(scores[down], places[down], score, place):
            break
        scores[at], places[at], found[at] = scores[down], places[down], found[down]
        at = down
    scores[at], places[at], found[at] = score, place, doc


@_compiled
def _keep(scores, places, found, size, score, place, doc):
    """Offer a document to the heap of the best. Returns the heap's new size."""
    if size == len(scores):
        if _worse(scores[0], places[0], score, place):
            _sink(scores, places, found, size, score, place, doc)
        return size
    at = size
    while at > 0:
        up = (at - 1) >> 1
        if not _worse(score, place, scores[up], places[up]):
            break
        scores[at], places[at], found[at] = scores[up], places[up], found[up]
        at = up
    scores[at], places[at], found[at] = score, place, doc
    return size + 1


@_compiled
def _add(sums, docs, scores, weight, low):
    """Add a term's postings to the sums of the documents from ``low`` on."""
    base = np.uint32(low)  # unsigned: numba then leaves out the check for negative indices
    for at in range(len(docs)):
        sums[np.uint32(docs[at]) - base] += weight * scores[at]


@_compiled
def _any(sums, need):
    """Whether one of ``sums`` is at least ``need``; without a branch, so that the processor compares many at once."""
    count = np.int32(0)
    for at in range(len(sums)):
        count += np.int32(sums[at] >= need)
    return count > 0


@_compiled
def _distinct(tokens):
    """A query's distinct terms, ascending, how often each stands in it, and how many there are (-1 is skipped)."""
    sought = np.sort(tokens)
    terms = np.empty(len(sought), np.int32)
    weights = np.zeros(len(sought), np.float32)
    n = 0
    for token in sought:
        if token >= 0:
            if n == 0 or terms[n - 1] != token:
                terms[n] = token
                n += 1
            weights[n - 1] += np.float32(1)
    return terms, weights, n


@_compiled
def search_queries(
    indptr, docs, scores, order, allowed, tokens, ends, first, last, sums, out_docs, out_scores
):
    """The best documents of queries first..last-1, into ``out_docs`` and ``out_scores`` [queries, k].

    ``tokens`` are the queries' term ids one after the other (-1 is skipped), ``ends[q]`` where query q ends; ``order``
    ranks documents of the same score; ``allowed`` says per document whether it may be found, or has length 0.
    ``sums`` is working space: zeros, and zeros again on return.

    Every posting of the query is added up, in blocks of as many documents as ``sums`` has places, so that the sums
    stay in the second-level cache. Adding a posting takes 0.4 ns then; leaving out what cannot reach the best k
    (MaxScore, looking candidates up in the long lists) was never faster on 100,000 and 1,000,000 passages.
    """
    k = out_docs.shape[1]
    rows = len(order)
    best_score = np.empty(k, np.float32)
    best_place = np.empty(k, np.int32)
    best_doc = np.empty(k, np.int32)
    zero = np.float32(0)
    for query in range(first, last):
        terms, weights, n = _distinct(tokens[(ends[query - 1] if query > 0 else 0) : ends[query]])
        start = np.empty(n, np.int64)
        stop = np.empty(n, np.int64)
        for i in range(n):
            stop[i] = indptr[terms[i]]
        size = 0
        low = 0
        width = min(len(sums), _FIRST)  # small at first: that soon gives a score to beat
        while n > 0 and low < rows:
            high = min(rows, low + width)
            postings = 0
            for i in range(n):
                start[i] = stop[i]
                stop[i] = _first_from(docs, start[i], indptr[terms[i] + 1], high)
                _add(sums, docs[start[i] : stop[i]], scores[start[i] : stop[i]], weights[i], low)
                postings += stop[i] - start[i]
            need = best_score[0] if size == k else np.float32(1e-30)
            if postings * _SPARSE < high - low:  # few: go through the postings once more
                for i in range(n):
                    for at in range(start[i], stop[i]):
                        doc = docs[at]
                        score = sums[doc - low]
                        sums[doc - low] = zero
                        if score >= need and (len(allowed) == 0 or allowed[doc]):
                            size = _keep(best_score, best_place, best_doc, size, score, order[doc], doc)
                            if size == k:
                                need = best_score[0]
            else:  # many: go through the sums
                for begin in range(0, high - low, _CHUNK):
                    end = min(begin + _CHUNK, high - low)
                    if _any(sums[begin:end], need):
                        for at in range(begin, end):
                            doc = low + at
                            if sums[at] >= need and (len(allowed) == 0 or allowed[doc]):
                                size = _keep(
                                    best_score, best_place, best_doc, size, sums[at], order[doc], doc
                                )
                                if size == k:
                                    need = best_score[0]
                sums[: high - low] = zero
            low = high
            width = min(len(sums), width * 2)
        for rank in range(size - 1, -1, -1):  # the heap gives the worst first
            out_docs[query, rank] = best_doc[0]
            out_scores[query, rank] = best_score[0]
            _sink(best_score, best_place, best_doc, rank, best_score[rank], best_place[rank], best_doc[rank])


@_compiled
def score_documents(indptr, docs, scores, tokens, ends, wanted, wanted_ends, out):
    """The scores of given documents, into ``out``: the same float32 sums, in the same order, as a search makes.

    ``tokens`` and ``ends`` as in :func:`search_queries`; ``wanted`` are the documents of all queries one after the
    other, ``wanted_ends[q]`` where those of query q end.
    """
    for query in range(len(ends)):
        terms, weights, n = _distinct(tokens[(ends[query - 1] if query > 0 else 0) : ends[query]])
        for at in range(wanted_ends[query - 1] if query > 0 else 0, wanted_ends[query]):
            total = np.float32(0)
            for i in range(n):
                high = indptr[terms[i] + 1]
                place = _first_from(docs, indptr[terms[i]], high, wanted[at])
                if place < high and docs[place] == wanted[at]:
                    total += weights[i] * scores[place]
            out[at] = total
