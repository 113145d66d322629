"""Tables as classes, for the code of steps."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class BaseTable(DeclarativeBase):
    """What authors derive their own tables from, so that those may refer to subscriptions."""


class SubscriptionTable(BaseTable):
    """A subscription of a customer: what processes create, change and end.

    `insync` is false while a process works on it; steps may read and write it, and taking the lock is not their
    business. `version` is counted by the database at every change but those of `insync`.
    """

    __tablename__ = "subscriptions"

    subscription_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    description: Mapped[str] = mapped_column(Text, server_default="")
    status: Mapped[str] = mapped_column(String(255), server_default="initial")
    product_id: Mapped[UUID | None]
    customer_id: Mapped[str] = mapped_column(String, server_default="")
    insync: Mapped[bool] = mapped_column(server_default=text("false"))
    start_date: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    end_date: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    note: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(server_default=text("1"))
