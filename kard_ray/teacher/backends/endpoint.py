"""A client of any OpenAI-compatible endpoint: it keeps limits, tries again, and believes no broken reply.

Requests go through the ``openai`` package; retries are made here, because a server's wish for quiet (Retry-After) holds
for all requests of the client, and because a reply is only good once its body has been read strictly.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from kard_ray.runtime.config import Frozen
from kard_ray.runtime.engine import SamplingConfig
from kard_ray.runtime.errors import UserError
from kard_ray.teacher.backends.base import Message, Reply, Request
from kard_ray.teacher.backends.endpoint_key import holds_key, read_key, redacted
from kard_ray.teacher.backends.endpoint_refusal import mistake, read_refusal
from kard_ray.teacher.backends.endpoint_reply import (
    Choice,
    Usage,
    estimated_tokens,
    is_unicode,
    read_answer,
    shares,
)
from kard_ray.teacher.backends.limits import Backoff, Budget, BudgetReachedError, Pause, Rate
from kard_ray.teacher.prompt import TeacherTemplate, plain_prompt

_CONNECT_SECONDS = 15.0


class EndpointConfig(Frozen):
    """A teacher behind an OpenAI-compatible API; ``teacher.model`` is its name there."""

    # The address is among them: a model's name decides what it writes, and the same one may be served elsewhere
    # tomorrow. So is samples_per_request: it says in how many calls the same draws are asked for.
    EXECUTION: ClassVar[frozenset[str]] = frozenset(
        {
            "url",
            "key_env",
            "key_file",
            "requests_per_minute",
            "tokens_per_minute",
            "concurrency",
            "timeout_seconds",
            "retries",
            "samples_per_request",
            "budget_tokens",
            "prompt_price",
            "generated_price",
        }
    )

    kind: Literal["endpoint"]
    url: str = Field(max_length=2000)  # base address, such as https://api.openai.com/v1
    key_env: str | None = Field("OPENAI_API_KEY", min_length=1)  # environment variable; null: no key
    key_file: str | None = Field(None, min_length=1)  # file that holds the key; goes before key_env
    requests_per_minute: int | None = Field(None, ge=1)  # null: no limit
    tokens_per_minute: int | None = Field(None, ge=1)  # prompt + generated; null: no limit
    concurrency: int = Field(32, ge=1, le=4096)  # requests in flight at most
    timeout_seconds: float = Field(300.0, gt=0)  # for one request, until its last byte
    retries: int = Field(6, ge=0, le=100)  # further attempts after one that brought nothing
    samples_per_request: int = Field(1, ge=1, le=128)  # n of the API; servers that ignore it are asked again
    budget_tokens: int | None = Field(None, ge=1)  # prompt + generated, over the whole run; null: no cap
    seed_requests: bool = True  # send the seed; only where samples_per_request is 1
    prompt_price: float | None = Field(None, ge=0)  # for a million prompt tokens, for the estimate
    generated_price: float | None = Field(None, ge=0)  # for a million generated tokens, for the estimate

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address that starts with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            # They could hold a key, and the address is shown in logs and manifests.
            raise ValueError("expected an address without user, password, query and fragment")
        return url.rstrip("/")


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a client did so far."""

    requests: int = 0  # sent
    retries: int = 0  # of these, sent because one before brought nothing
    prompt_tokens: int = 0
    generated_tokens: int = 0
    estimated: int = 0  # requests whose tokens the endpoint did not report


_NOTHING = Usage()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Outcome:
    """What one call brought."""

    settled: Sequence[Choice] = field(default_factory=tuple)  # good ones and final problems, one a sample
    problem: str = ""  # why there are none
    again: bool = True  # another attempt may bring more
    cost: Usage = _NOTHING
    reported: bool = True  # the cost is the endpoint's own number, or certain
    wait: float | None = None  # seconds of quiet that the server asked for, from all
    fatal: str = ""  # a sentence for a UserError
    answered: bool = True  # a server was there


def _let_go(_: Sequence[Reply]) -> None:
    """For who waits for all replies."""


class EndpointClient:
    """Asks one model for samples; one client to an event loop.

    ``spent`` are tokens of the budget that are gone already. A reply's tokens are those of all its attempts, so what
    the client counted is the sum over the replies that it returned.
    """

    def __init__(
        self,
        config: EndpointConfig,
        model: str,
        sampling: SamplingConfig,
        template: TeacherTemplate,
        seed: int,
        spent: int,
        *,
        key: SecretStr | None = None,
        backoff: Backoff | None = None,
        label: str = "Explanation",
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        """``key`` spares reading it here, where the environment may be another machine's; ``label``: of plain prompts.

        Raises UserError when the key is missing.
        """
        import openai  # a second, which commands that ask no endpoint need not wait for

        self.config, self.model, self.sampling = config, model, sampling
        self.template, self.seed, self.label, self.schema = template, seed, label, schema
        self.counts = Counts()
        self._key = key or read_key(url=config.url, key_env=config.key_env, key_file=config.key_file)
        # Given one by one: the package would add a key, an organisation and a project from the environment.
        self._nothing = openai.Omit()
        bearer: Any = f"Bearer {self._key.get_secret_value()}" if self._key else self._nothing
        left_out: Any = dict.fromkeys(("OpenAI-Organization", "OpenAI-Project"), self._nothing)
        connect = min(_CONNECT_SECONDS, config.timeout_seconds)
        self._api = openai.AsyncOpenAI(
            api_key="in-the-headers",
            base_url=config.url,
            max_retries=0,
            timeout=openai.Timeout(config.timeout_seconds, connect=connect),
            default_headers={"Authorization": bearer, **left_out},
            http_client=openai.DefaultAsyncHttpx2Client(follow_redirects=False),
        )
        self._backoff = backoff or Backoff()
        self._rng = random.Random()  # jitter: two clients must not agree on it
        self._slots = asyncio.Semaphore(config.concurrency)
        self._request_rate = Rate(config.requests_per_minute)
        self._token_rate = Rate(config.tokens_per_minute)
        self._pause = Pause(self._backoff.base, self._rng)
        self._budget = Budget(config.budget_tokens, spent)
        self._estimated = self._billed = 0  # prompt tokens of requests whose usage was reported
        self._answered = False  # by any server, ever
        self._fatal = ""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.close()

    @property
    def spent(self) -> int:
        """Tokens of the budget that are gone, those before this client included."""
        return self._budget.spent

    async def ask(self, request: Request, keep: Callable[[Sequence[Reply]], None] = _let_go) -> list[Reply]:
        """One reply for each of ``request.samples``, ordered by sample.

        ``keep`` is given each of them once, as soon as it is there and before any further request is sent: what it
        writes down, a client that is killed has paid for at most ``concurrency`` requests more.

        Raises UserError for what makes every request fail alike (address, key, model), and BudgetReachedError, with the
        replies that were paid for, when the budget does not allow the next call.
        """
        if not all(is_unicode(message["content"]) for message in request.messages):
            problem = "The prompt is not valid Unicode: it holds half a surrogate pair."
            failed = _all_failed(request.question_id, request.samples, problem, _NOTHING)
            keep(failed)
            return failed
        at_once = self.config.samples_per_request
        calls = [request.samples[at : at + at_once] for at in range(0, len(request.samples), at_once)]
        tasks = [asyncio.ensure_future(self._samples(request, wanted, keep)) for wanted in calls]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()  # those still running when one has raised
        replies = sorted((reply for part, _ in found for reply in part), key=lambda reply: reply.sample)
        if reached := next((reached for _, reached in found if reached), ""):
            raise BudgetReachedError(reached, replies)
        return replies

    async def _samples(
        self, request: Request, samples: Sequence[int], keep: Callable[[Sequence[Reply]], None]
    ) -> tuple[list[Reply], str]:
        """Replies for ``samples``, and why the budget stopped before the last of them; empty if it did not."""
        replies: list[Reply] = []

        def settle(found: Sequence[Reply]) -> list[Reply]:
            # The call's slot is free, but who waits for it runs only when this coroutine waits.
            keep(found)
            replies.extend(found)
            return replies

        wanted, failures = list(samples), 0
        owed = _NOTHING  # the cost of attempts that no reply carries yet
        problem, again = "", True
        while wanted:
            if not again or failures > self.config.retries:
                attempts = f" (after {failures} attempts)" if failures > 1 else ""
                problem = f"The endpoint gave no text: {problem.rstrip('.')}{attempts}."
                return settle(_all_failed(request.question_id, wanted, problem, owed)), ""
            if failures:
                await asyncio.sleep(self._backoff.delay(failures, self._rng))
                self.counts.retries += 1
            try:
                outcome = await self._call(request.messages, wanted)
            except BudgetReachedError as reached:
                if not owed.total:
                    return replies, str(reached)
                # What the attempts before cost must come to be known, so they end as errors.
                problem = (
                    f"The endpoint gave no text: {problem}, and there was no budget for another attempt."
                )
                return settle(_all_failed(request.question_id, wanted, problem, owed)), ""
            owed += outcome.cost
            if outcome.settled:
                served, wanted = wanted[: len(outcome.settled)], wanted[len(outcome.settled) :]
                settle(_replies(request.question_id, served, outcome.settled, owed))
                owed, failures = _NOTHING, 0
            else:
                problem, again, failures = outcome.problem, outcome.again, failures + 1
                if failures > self.config.retries and not self._answered:
                    self._stop(
                        f"Nothing answers at teacher.backend.url {self.config.url} ({problem}); is it right?"
                    )
        return replies, ""

    async def _call(self, messages: Sequence[Message], samples: Sequence[int]) -> _Outcome:
        """One request for ``samples``, as soon as all limits allow it; raises UserError and BudgetReachedError."""
        prompt = estimated_tokens("".join(message["content"] for message in messages)) + 4 * len(messages)
        # Corrected by what the endpoint's own tokenizer made of the prompts so far.
        expected = round(prompt * max(1.0, self._billed / self._estimated if self._estimated else 1.0))
        worst = Usage(prompt=expected, generated=len(samples) * self.sampling.max_tokens)
        async with self._slots:
            await self._budget.reserve(worst.total)
            cost, taken = _NOTHING, 0
            try:
                await self._request_rate.take(1)
                await self._token_rate.take(worst.total)
                taken = worst.total
                await self._pause.wait()
                if self._fatal:
                    raise UserError(self._fatal)
                self.counts.requests += 1
                outcome = await self._send(messages, samples, worst)
                cost = outcome.cost
            finally:
                self._budget.settle(worst.total, cost.total)
                self._token_rate.give_back(taken - cost.total)
        self.counts.prompt_tokens += cost.prompt
        self.counts.generated_tokens += cost.generated
        if not outcome.reported:
            self.counts.estimated += 1
        elif cost.prompt:
            self._estimated, self._billed = self._estimated + prompt, self._billed + cost.prompt
        self._answered = self._answered or outcome.answered
        if outcome.wait is not None:
            self._pause.hold(outcome.wait)
        if outcome.fatal:
            self._stop(outcome.fatal)
        return outcome

    def _stop(self, message: str) -> None:
        """Let this and every later request fail with ``message``."""
        self._fatal = self._fatal or message
        raise UserError(self._fatal)

    async def _send(self, messages: Sequence[Message], samples: Sequence[int], worst: Usage) -> _Outcome:
        """Send one request and read what comes back; ``worst`` is what it can cost."""
        import openai

        chat = self.template == "chat"
        body = self._body(samples)
        # Errors of the package hold the request with its key: they are read here, and never raised or chained.
        try:
            async with asyncio.timeout(self.config.timeout_seconds):
                if chat:
                    body["messages"] = list(messages)
                    raw = await self._api.chat.completions.with_raw_response.create(**body)
                else:
                    body["prompt"] = plain_prompt(list(messages), self.label)
                    raw = await self._api.completions.with_raw_response.create(**body)
                content = raw.http_response.content
        except TimeoutError:
            return self._unanswered("Timeout", worst)
        except openai.APIStatusError as error:
            return self._refused(error.status_code, error.response.text, error.response.headers)
        except openai.APIConnectionError as error:
            return self._unanswered(type(error.__cause__).__name__, worst)
        return self._read(content, chat, messages, samples, worst)

    def _body(self, samples: Sequence[int]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
        }
        if self._key is None:
            body["extra_headers"] = {"Authorization": self._nothing}  # the package wants to be told each time
        if self.sampling.stop:
            body["stop"] = list(self.sampling.stop)
        if self.schema is not None:
            form = {"name": "text", "schema": dict(self.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        if self.sampling.top_k > 0:
            # No part of OpenAI's API: servers like vLLM know it, others refuse the request or do not care.
            body["extra_body"] = {"top_k": self.sampling.top_k}
        if len(samples) > 1:
            body["n"] = len(samples)
        elif self.config.seed_requests and self.config.samples_per_request == 1:
            body["seed"] = self.seed + samples[0]
        return body

    def _read(
        self, content: bytes, chat: bool, messages: Sequence[Message], samples: Sequence[int], worst: Usage
    ) -> _Outcome:
        """What the body of an HTTP 200 is worth."""
        size = sum(len(message["content"].encode()) for message in messages)  # a token has a byte at least
        if holds_key(content.decode("utf-8", "replace"), self._key):
            return _Outcome(problem="HTTP 200, but the body holds the API key", cost=worst, reported=False)
        answer = read_answer(content, chat=chat, limit=Usage(prompt=size, generated=worst.generated))
        choices = [self._without_key(choice) for choice in answer.choices]
        cost = answer.usage
        if cost is None and choices:
            cost = Usage(
                prompt=worst.prompt, generated=sum(estimated_tokens(choice.text) for choice in choices)
            )
        settled = [choice for choice in choices if choice.final][: len(samples)]
        problem = answer.problem or next((choice.problem for choice in choices if choice.problem), "")
        return _Outcome(
            settled=settled,
            problem=redacted(f"HTTP 200, but {problem}", self._key),
            cost=cost or worst,
            reported=answer.usage is not None,
        )

    def _unanswered(self, cause: str, worst: Usage) -> _Outcome:
        """No whole reply came; ``cause`` is the HTTP library's word for it."""
        if cause.startswith(("Connect", "Proxy")):
            return _Outcome(problem=f"the connection could not be made ({cause})", answered=False)
        # The server had the request, so it may write on, and bill it.
        if cause.endswith("Timeout"):
            problem = f"no answer within {self.config.timeout_seconds:g} s"
            return _Outcome(problem=problem, cost=worst, reported=False, answered=False)
        return _Outcome(problem=f"the connection broke ({cause})", cost=worst, reported=False)

    def _refused(self, status: int, body: str, headers: Mapping[str, str]) -> _Outcome:
        """What an HTTP status other than 200 means for this request, and for all others."""
        refusal = read_refusal(status, body, self._key)
        if refusal.fatal:
            return _Outcome(fatal=mistake(refusal, self.config, self.model, has_key=self._key is not None))
        wait = self._backoff.asked_for(headers, datetime.now(UTC)) if refusal.quiet else None
        return _Outcome(problem=refusal.problem, again=refusal.again, wait=wait)

    def _without_key(self, choice: Choice) -> Choice:
        if holds_key(choice.text + choice.finish_reason, self._key):
            return Choice(problem="its text holds the API key", final=False)
        return replace(choice, problem=redacted(choice.problem, self._key))


def _replies(question_id: str, samples: Sequence[int], choices: Sequence[Choice], cost: Usage) -> list[Reply]:
    """The first carries the prompt; generated tokens are split by the length of the texts."""
    generated = shares(cost.generated, [len(choice.text) + 1 for choice in choices])
    return [
        Reply(
            question_id=question_id,
            sample=sample,
            text=choice.text,
            prompt_tokens=0 if at else cost.prompt,
            generated_tokens=generated[at],
            finish_reason=choice.finish_reason,
            error=f"The endpoint gave no text: {choice.problem}." if choice.problem else "",
        )
        for at, (sample, choice) in enumerate(zip(samples, choices, strict=True))
    ]


def _all_failed(question_id: str, samples: Sequence[int], problem: str, cost: Usage) -> list[Reply]:
    """An error for each sample; the first carries what the attempts cost."""
    return [
        _failed(question_id, sample, problem, _NOTHING if at else cost) for at, sample in enumerate(samples)
    ]


def _failed(question_id: str, sample: int, problem: str, cost: Usage) -> Reply:
    return Reply(
        question_id=question_id,
        sample=sample,
        text="",
        prompt_tokens=cost.prompt,
        generated_tokens=cost.generated,
        finish_reason="",
        error=problem,
    )
