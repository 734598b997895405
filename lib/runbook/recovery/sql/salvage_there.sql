-- Is it written down in this database what was saved into it?
SELECT to_regclass('runbook_salvage.finished') IS NOT NULL AS there
