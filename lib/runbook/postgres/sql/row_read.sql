-- Has the row that was just written arrived?
SELECT convert_from(lo_get(%(number)s::bigint::oid), 'UTF8') AS text
