-- May the role that carries plans out change who has an item? (Null: no such role is known here.)
SELECT bool_and(has_column_privilege(operator.oid, items.oid, changed.name, 'UPDATE')) AS operator_may
FROM pg_roles AS operator, pg_class AS items, (VALUES ('status'), ('assigned_to'), ('assigned_at')) AS changed (name)
WHERE operator.rolname = %(operator)s AND items.oid = to_regclass('triage_items')
