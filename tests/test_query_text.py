"""What is shown of a statement holds nothing that could be anybody's data."""

import random

import pytest

from runbook.postgres.query_text import MOST_READ, without_literals

SECRET = "hunter2secret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT * FROM users WHERE name = 'x'", "SELECT * FROM users WHERE name = '…'"),
        ("select /* can't */ count(*) where a <> 'hunter2secret'", "select count(*) where a <> '…'"),
        ("select note=E'it\\'s hunter2secret' from t", "select note='…' from t"),
        ("alter role x password $$hunter2secret$$", "alter role x password …"),
        ("do $body$ begin 'hunter2secret' $$ end $body$ language plpgsql", "do … language plpgsql"),
        ("-- it's\nselect 's3cret'", "select '…'"),
        ("update t set pan = 4111111111111111, x = -1.5e10", "update t set pan = …, x = -…"),
        ('select "o\'brien", \'hunter2secret\' from "t 1"', 'select "o\'brien", \'…\' from "t 1"'),
        ("select 'it''s hunter2secret', t1.c2 from t1 where id = $1", "select '…', t1.c2 from t1 where id = $1"),
        ("select /* a /* b */ 'hunter2secret' */ 1", "select …"),
        ("select U&'hunter2secret', b'01', X'ff', 0xFF", "select '…', '…', '…', …"),
        ("select a,\n\t  b\nfrom t", "select a, b from t"),
        ("select 'hunter2secret", "select '…'…"),
        ("select /* hunter2secret", "select …"),
        ("select $tag$ hunter2secret", "select …"),
        ('select "hunter2secret', "select …"),
        ("select 'a\\' , 'hunter2secret'", "select '…'…"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_statement_is_shown_without_its_literals(text: str | None, shown: str) -> None:
    assert without_literals(text) == shown


def test_wherever_a_statement_is_cut_its_literals_stay_hidden() -> None:
    text = f"SELECT a, 'it''s {SECRET}', E'\\'{SECRET}', $x${SECRET}$x$, \"b\" /* {SECRET} */ -- {SECRET}\nFROM t"
    for length in range(len(text) + 1):
        assert SECRET not in without_literals(text[:length])
        assert "unter2" not in without_literals(text[:length])


def test_what_is_long_is_cut_and_said_so() -> None:
    assert without_literals("SELECT " + "a, " * 100).endswith("…")
    assert without_literals(" " * MOST_READ + "SELECT 1") == "…"


def test_any_mixture_of_quotes_hides_what_stands_in_a_literal() -> None:
    chance = random.Random(7)
    pieces = ["/* ' */", "-- \"'\n", "'a''b'", '"a""\'b"', "$$'$$", "E'\\''", " a ", "(", ")", "$1", "/* /* ' */ */"]
    for _ in range(2000):
        before = " ".join(chance.choice(pieces) for _ in range(chance.randrange(6)))
        after = " ".join(chance.choice(pieces) for _ in range(chance.randrange(3)))
        literal = chance.choice([f"'{SECRET}'", f"E'x\\'{SECRET}'", f"$q${SECRET}$q$", f"'''{SECRET}'"])
        assert SECRET not in without_literals(f"SELECT {before} {literal} {after}")
