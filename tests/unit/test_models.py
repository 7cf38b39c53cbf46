"""The tables' mappers."""

from data_mover.store.database import Base


def test_no_statement_has_to_configure_a_mapper_which_a_signal_could_interrupt():
    assert all(mapper.configured for mapper in Base.registry.mappers)
