"""The example's own tables, in the same database as the engine's and migrated together with them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, Text, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Tables of the node example."""


class Node(Base):
    """A network node, from its order to its activation."""

    __tablename__ = "nodes"

    node_id: Mapped[int] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID]
    node_name: Mapped[str] = mapped_column(Text)
    site: Mapped[str] = mapped_column(Text)
    product: Mapped[str] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    activated_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class NodeEffect(Base):
    """One line for everything a step did; without unique constraints on purpose, so that a repetition would show."""

    __tablename__ = "node_effects"

    effect_id: Mapped[int] = mapped_column(primary_key=True)
    process_id: Mapped[UUID]
    node: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    effect: Mapped[str] = mapped_column(Text)
    done_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
