"""When a picture can have been taken: the clock of a camera may be wrong by years."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The earliest and latest time at which a picture can have been taken."""

    earliest: datetime = datetime(1990, 1, 1, tzinfo=UTC)
    days_ahead: int = 1

    def refusal(self, moment: datetime, name: str = "captured_at") -> str | None:
        """Why a picture cannot have been taken, or labelled, then; None if it can. A time without a zone is UTC."""
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if self.earliest <= aware <= datetime.now(UTC) + timedelta(days=self.days_ahead):
            return None
        days = "a day" if self.days_ahead == 1 else f"{self.days_ahead} days"
        return f"{name} must be from {self.earliest:%Y-%m-%d} to {days} after now, but is {moment.isoformat()}"
