-- How many values does this prepared statement take?
SELECT cardinality(parameter_types) AS parameters FROM pg_prepared_statements WHERE name = %(name)s
