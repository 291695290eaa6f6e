"""Invalidation tied to the commits of a SQLAlchemy session.

pip install sqlalchemy; python sqlalchemy_session.py [redis://localhost:6379]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hotset import MemoryTier, RedisTier, TieredCache


class Base(DeclarativeBase):
    """What is mapped."""


class User(Base):
    """One row."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def invalidate_by(session: Session, cache: TieredCache[int, str]) -> None:
    """Have the cache forget the users that a session changes, when it commits; and nothing when it rolls back.

    With `hold` the server lets go of them before the commit: a process that dies right after it leaves nothing old.
    """
    held = cache.invalidations(hold=True)

    def collect(session: Session, _context: Any) -> None:
        held.add(*[row.id for row in (*session.new, *session.dirty, *session.deleted) if isinstance(row, User)])

    event.listen(session, "after_flush", collect)
    event.listen(session, "after_commit", lambda _session: held.commit())
    event.listen(session, "after_rollback", lambda _session: held.drop())


def main(url: str | None = None) -> list[object]:
    """Rename a user, and think better of it once; return what was read and how often the database was asked."""
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'users.db'}")
        Base.metadata.create_all(engine)
        asked = 0

        def load(user_id: int) -> str | None:
            nonlocal asked
            asked += 1
            with Session(engine) as session:
                user = session.get(User, user_id)
                return None if user is None else user.name

        tiers = [MemoryTier(1000)] if url is None else [MemoryTier(1000), RedisTier(url)]
        with TieredCache("sqlalchemy", tiers, load=load, ttl="5m") as cache, Session(engine) as session:
            cache.clear()
            invalidate_by(session, cache)
            session.add(User(id=1, name="Ann"))
            session.commit()
            seen: list[object] = [cache.get(1)]
            user = session.get_one(User, 1)
            user.name = "Anna"
            session.commit()
            seen += [cache.get(1), cache.get(1)]
            user.name = "Hannah"
            session.flush()
            session.rollback()
            seen.append(cache.get(1))
        engine.dispose()
    return [*seen, asked]


if __name__ == "__main__":
    print(*main(*sys.argv[1:]))
