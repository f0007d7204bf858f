"""A bounded table of debts, oldest use out first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class Debt:
    """What one key owes. `paid_at` and `pending_at` are monotonic seconds.

    `failures`: in a row, since the debt was last paid or forgiven. `pending`: attempts under way.
    """

    paid_at: float = 0.0
    failures: int = 0
    pending: int = 0
    pending_at: float = 0.0


class DebtTable:
    """Debts by key, never more than `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._debts: OrderedDict[bytes, Debt] = OrderedDict()

    def __len__(self) -> int:
        return len(self._debts)

    def find(self, key: bytes) -> Debt | None:
        """The debt of `key`, if it has one."""
        return self._debts.get(key)

    def touch(self, key: bytes) -> Debt:
        """The debt of `key`, made when absent, and now the last one to be forgotten."""
        debt = self._debts.get(key)
        if debt is None:
            debt = self._debts[key] = Debt()
            if len(self._debts) > self._size:
                self._debts.popitem(last=False)
        self._debts.move_to_end(key)
        return debt

    def forget(self, key: bytes) -> None:
        """Forgive `key`."""
        self._debts.pop(key, None)
