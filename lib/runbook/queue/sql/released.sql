-- Do these items wait, with nobody? (Null: some do and some do not, and it cannot be told.)
WITH seen AS (
    SELECT item_id, assigned_to, assigned_at FROM jsonb_populate_recordset(NULL::triage_items, %(items)s::jsonb)),
now_so AS (
    SELECT coalesce(item.status = 'in_review' AND item.assigned_to IS NOT DISTINCT FROM seen.assigned_to
                    AND item.assigned_at IS NOT DISTINCT FROM seen.assigned_at, false) AS held,
           coalesce(item.status = 'pending' AND item.assigned_to IS NULL, false) AS free
    FROM seen LEFT JOIN triage_items AS item ON item.item_id = seen.item_id)
SELECT CASE WHEN bool_and(held) THEN false WHEN bool_and(free) THEN true END AS released FROM now_so
