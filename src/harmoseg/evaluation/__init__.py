"""From a run and a store to a table of cases."""
