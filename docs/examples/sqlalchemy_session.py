"""Invalidation tied to the commits of a SQLAlchemy session.

pip install sqlalchemy; python sqlalchemy_session.py [redis://localhost:6379]
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, ORMExecuteState, Session, SessionTransaction, mapped_column

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
    The release of a SAVEPOINT is no commit yet, and its rollback leaves what was changed before it. What a session does
    not know by its keys is to be invalidated by hand: SQL as text, statements on a Table in place of the class,
    `insert(User)` and upserts, the old key of a row that gets another one, triggers, cascades of the database.
    """
    held = cache.invalidations(hold=True)

    def collect(session: Session, _context: Any) -> None:
        held.add(*[row.id for row in (*session.new, *session.dirty, *session.deleted) if isinstance(row, User)])

    def collect_bulk(state: ORMExecuteState) -> None:
        """Find out which rows an UPDATE or DELETE is about, and have them stay so until it is done."""
        mapper = state.bind_mapper
        if (state.is_update or state.is_delete) and mapper is not None and mapper.class_ is User:
            changed = select(User.id).with_for_update()
            where: Any = getattr(state.statement, "whereclause", None)
            held.add(*state.session.scalars(changed if where is None else changed.where(where)))

    def commit(session: Session) -> None:
        if not session.in_nested_transaction():
            held.commit()

    def end(_session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            held.drop()  # what a commit has left: nothing

    event.listen(session, "after_flush", collect)
    event.listen(session, "do_orm_execute", collect_bulk)
    event.listen(session, "after_commit", commit)
    event.listen(session, "after_transaction_end", end)


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
