"""The example of a SQLAlchemy session, on real SQLite: cached is what was committed, whatever a session does."""

import importlib.util
import pathlib

import pytest

from hotset import MemoryTier, TieredCache

sqlalchemy = pytest.importorskip("sqlalchemy")  # has no release for every Python
orm = pytest.importorskip("sqlalchemy.orm")

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples" / "sqlalchemy_session.py"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("sqlalchemy_session", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def savepoint_rolled_back(session, cache, user):
    session.get(user, 1).name = "Anna"
    session.flush()
    nested = session.begin_nested()
    session.get(user, 2).name = "Bo"
    session.flush()
    nested.rollback()
    cache.get_many([1, 2])  # who reads in between finds the old rows
    session.commit()


def savepoint_released(session, cache, user):
    session.get(user, 1).name = "Anna"
    nested = session.begin_nested()
    session.get(user, 2).name = "Bo"
    nested.commit()
    cache.get_many([1, 2])
    session.commit()


def savepoint_released_in_another(session, cache, user):
    with session.begin_nested():
        with session.begin_nested():
            session.get(user, 1).name = "Anna"
        cache.get_many([1, 2])
    cache.get_many([1, 2])
    session.commit()


def savepoint_and_all_rolled_back(session, cache, user):
    session.get(user, 1).name = "Anna"
    session.begin_nested()
    session.get(user, 2).name = "Bo"
    session.flush()
    session.rollback()
    session.get(user, 2).name = "Ben"
    cache.get_many([1, 2])
    session.commit()


def bulk_update(session, cache, user):
    session.execute(sqlalchemy.update(user).where(user.id == 1).values(name="Anna"))
    cache.get_many([1, 2])
    session.commit()


def bulk_update_of_all(session, cache, user):
    session.execute(sqlalchemy.update(user).values(name=user.name + "a"))
    cache.get_many([1, 2])
    session.commit()


def bulk_delete(session, cache, user):
    session.execute(sqlalchemy.delete(user).where(user.name == "Bob"))
    cache.get_many([1, 2])
    session.commit()


def closed(session, cache, user):
    session.get(user, 1).name = "Anna"
    session.flush()
    session.close()
    cache.get_many([1, 2])


CASES = {
    savepoint_rolled_back: {1: "Anna", 2: "Bob"},
    savepoint_released: {1: "Anna", 2: "Bo"},
    savepoint_released_in_another: {1: "Anna", 2: "Bob"},
    savepoint_and_all_rolled_back: {1: "Ann", 2: "Ben"},
    bulk_update: {1: "Anna", 2: "Bob"},
    bulk_update_of_all: {1: "Anna", 2: "Boba"},
    bulk_delete: {1: "Ann"},
    closed: {1: "Ann", 2: "Bob"},
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_is_cached_is_what_was_committed(example, tmp_path, case):
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'users.db'}")
    user = example.User
    example.Base.metadata.create_all(engine)

    def load(number):
        with orm.Session(engine) as other:
            found = other.get(user, number)
            return None if found is None else found.name

    with TieredCache("users", [MemoryTier(10)], load=load, ttl="5m") as cache, orm.Session(engine) as session:
        example.invalidate_by(session, cache)
        session.add_all([user(id=1, name="Ann"), user(id=2, name="Bob")])
        session.commit()
        assert cache.get_many([1, 2]) == {1: "Ann", 2: "Bob"}
        case(session, cache, user)
        assert {number: name for number, name in cache.get_many([1, 2]).items() if name} == CASES[case]
        assert {number: name for number in (1, 2) if (name := load(number))} == CASES[case]
    engine.dispose()
