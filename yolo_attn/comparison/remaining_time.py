"""How long the rest of a grid will take, from the epochs that this session has seen. No clock of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..experiment.plan import Run


@dataclass(slots=True)
class _Span:
    """One attempt of a run, in seconds of the caller's clock and finished epochs."""

    title: str
    begun: float
    before: int
    training: float | None = None  # when its first epoch began
    epochs: int = 0  # finished, with those of earlier sessions
    latest: float | None = None  # when the last of them ended
    ended: float | None = None

    def seconds_and_epochs(self) -> tuple[float, int]:
        """What the attempt says about an epoch: with start and last validation once it has ended."""
        done = self.epochs - self.before
        if done < 1 or self.latest is None:
            return 0.0, 0
        if self.ended is not None:
            return self.ended - self.begun, done
        return self.latest - (self.begun if self.training is None else self.training), done


@dataclass(slots=True)
class Pace:
    """Notes when epochs end, and says what is left.

    Args:
        epochs: Epochs of a run.
    """

    epochs: int
    _spans: dict[str, _Span] = field(default_factory=dict)
    _past: list[_Span] = field(default_factory=list)

    def begin(self, run: Run, epochs: int, now: float) -> None:
        """``run`` begins, with ``epochs`` finished in an earlier session."""
        if run.name in self._spans:
            self._past.append(self._spans.pop(run.name))
        self._spans[run.name] = _Span(run.model, now, epochs, epochs=epochs)

    def note(self, run: Run, epochs: int, now: float, *, training: bool = True) -> None:
        """``run`` has finished ``epochs``; ``training``: its first epoch has begun."""
        span = self._spans[run.name]
        if training and span.training is None:
            span.training = now
        if epochs < span.epochs:  # no checkpoint could be read: it began anew
            span.before = span.epochs = epochs
        elif epochs > span.epochs:
            span.epochs, span.latest = epochs, now

    def end(self, run: Run, now: float) -> None:
        """``run`` has ended, whether well or not."""
        self._spans[run.name].ended = now

    def seconds(self, run: Run, now: float) -> float:
        """How long ``run`` has taken in this session."""
        span = self._spans.get(run.name)
        return 0.0 if span is None else (span.ended or now) - span.begun

    def per_epoch(self, title: str) -> float | None:
        """Return the seconds of an epoch of this model; of all models if it has finished none; None if none has."""
        spans = [*self._past, *self._spans.values()]
        for chosen in ([span for span in spans if span.title == title], spans):
            pairs = [span.seconds_and_epochs() for span in chosen]
            done = sum(epochs for _, epochs in pairs)
            if done:
                return sum(seconds for seconds, _ in pairs) / done
        return None

    def left(self, running: Iterable[Run], waiting: Iterable[tuple[Run, int]], now: float) -> float | None:
        """Return the seconds until all runs are finished, None before an epoch has been finished in this session.

        As many runs as are running now are taken to run at any time until the end.

        Args:
            running: The runs that are being performed.
            waiting: The others that are not finished, with the epochs that they have finished before.
            now: The present time.
        """
        under_way: list[float] = []
        ahead: list[float] = []
        for run in running:
            span, pace = self._spans[run.name], self.per_epoch(run.model)
            if pace is None:
                return None
            since = span.latest or span.training or span.begun
            under_way.append(max(0.0, pace * max(0, self.epochs - span.epochs) - (now - since)))
        for run, epochs in waiting:
            pace = self.per_epoch(run.model)
            if pace is None:
                return None
            ahead.append(pace * max(0, self.epochs - epochs))
        together = sum(under_way) + sum(ahead)
        return max([together / max(1, len(under_way)), *under_way, *ahead])


def words(seconds: float) -> str:
    """Return a duration as a person says it: ``45 s``, ``12 min``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s" if round(seconds) < 60 else "1 min"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def about(seconds: float | None) -> str:
    """Return an estimate in words, empty if there is none."""
    if seconds is None:
        return ""
    return "less than a minute left" if seconds < 60 else f"about {words(seconds)} left"
