-- What was saved of each table?
SELECT * FROM runbook_salvage.tables ORDER BY table_name
