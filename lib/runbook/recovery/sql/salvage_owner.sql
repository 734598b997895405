-- Who is to own what is written down of a salvage?
-- Whom the database belongs to: so its dumps go on to work.
SELECT format('ALTER %s OWNER TO %I', what, pg_get_userbyid(datdba))
FROM pg_database,
     unnest(ARRAY['SCHEMA runbook_salvage', 'TABLE runbook_salvage.tables', 'TABLE runbook_salvage.rows',
                  'TABLE runbook_salvage.finished']) AS what
WHERE datname = current_database()
