"""What a policy says of what is cached (SEMANTICS F-3h).

It is asked before an object is kept and before one is answered from the cache, and a decision holds for a minute. Who
asks for the object is not part of the question: what is kept is kept for all, and who may read it the remote says.
That there was no decision is not remembered. But while nobody answers nobody waits: `probe` finds out when somebody
does again.
"""

import logging

from s3d import policy
from s3d.bounded import BoundedMap
from s3d.clock import tick
from s3d.filters.match import Subject
from s3d.policy import Answer, Ask, Operation, Verdict
from s3d.settings import Opa

log = logging.getLogger(__name__)

DECISION_SECONDS = 60.0
"""Seconds for which a decision is taken for what it was."""
MAX_REMEMBERED = 10_000
SILENT = Answer(Verdict.NONE, why="the policy does not answer", is_reached=False)


class Consent:
    """The policy, for what is kept."""

    def __init__(self, ask: Ask | None, settings: Opa) -> None:
        """Take whom to ask, None for nobody."""
        self._ask = ask
        self._settings = settings
        self._known: BoundedMap[tuple[str, str, str], tuple[float, Verdict]] = BoundedMap(MAX_REMEMBERED)
        self._of = self.whom
        self._unanswered = ""
        """The latest question that nobody answered; "" while somebody answers."""
        self.decides = True
        """Whether the latest question got a decision."""

    @property
    def whom(self) -> tuple[str, str]:
        """Where which rule is asked; an empty text in it: nobody is."""
        return (self._settings.url or "", self._settings.cache_path or "") if self._ask else ("", "")

    @property
    def is_asked_for(self) -> bool:
        """Whether there is such a rule."""
        return all(self.whom)

    @property
    def is_reached(self) -> bool:
        """Whether somebody answers, as far as anybody has tried."""
        return not self._unanswered or self._of != self.whom

    async def allows(self, subject: Subject) -> bool:
        """Whether an object may be kept, and be answered from the cache."""
        return self.lets(await self.verdict(subject))

    def lets(self, verdict: Verdict) -> bool:
        """The same by what the policy has said: the settings decide where that is nothing."""
        return verdict is Verdict.ALLOW or (verdict is Verdict.NONE and self._settings.fail_cache == "open")

    async def verdict(self, subject: Subject) -> Verdict:
        """What the policy says of an object, as it is asked now or was within a minute."""
        if not self.is_asked_for:
            return Verdict.ALLOW
        question = policy.question(Operation.CACHE, subject)
        known = self._known.get((*self.whom, question))
        if known is not None and tick() < known[0]:
            return known[1]
        answer = await self._put(question) if self.is_reached else SILENT
        if answer.verdict is Verdict.DENY:
            log.info(
                "%s/%s is not cached: the policy denies it, decision %s", subject.bucket, subject.key, answer.decision
            )
        return answer.verdict

    async def probe(self) -> None:
        """Ask once more what nobody has answered."""
        if self.is_asked_for and not self.is_reached:
            await self._put(self._unanswered)

    async def _put(self, question: str) -> Answer:
        assert self._ask is not None
        whom, until = self.whom, tick() + DECISION_SECONDS
        answer = await self._ask(question)
        if whom != self.whom:
            # The settings have changed meanwhile: it may be anybody's answer.
            return SILENT
        self._of, self._unanswered = whom, "" if answer.is_reached else question
        decides = answer.verdict is not Verdict.NONE
        if decides:
            self._known[*whom, question] = (until, answer.verdict)
        if decides != self.decides:
            self._tell(answer)
        self.decides = decides
        return answer

    def _tell(self, answer: Answer) -> None:
        if answer.verdict is not Verdict.NONE:
            log.info("the policy decides again what is cached")
            return
        does = "goes on" if self._settings.fail_cache == "open" else "keeps nothing and answers nothing"
        log.warning("the read cache %s without a decision of the policy: %s", does, answer.why)
