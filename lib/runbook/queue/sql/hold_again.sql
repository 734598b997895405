-- Do all of these items still wait as they were released?
-- Then they are in review again, with whom and since when they were; else nothing is changed. (No row: nothing was.)
WITH seen AS (
    SELECT item_id, assigned_to, assigned_at FROM jsonb_populate_recordset(NULL::triage_items, %(items)s::jsonb)),
free AS (
    SELECT item.item_id, seen.assigned_to, seen.assigned_at
    FROM triage_items AS item JOIN seen ON seen.item_id = item.item_id
    WHERE item.status = 'pending' AND item.completed_at IS NULL
      AND item.assigned_to IS NULL AND item.assigned_at IS NULL
    FOR UPDATE OF item),
held AS (
    UPDATE triage_items AS item
    SET status = 'in_review', assigned_to = free.assigned_to, assigned_at = free.assigned_at
    FROM free
    WHERE item.item_id = free.item_id AND (SELECT count(*) FROM free) = (SELECT count(*) FROM seen)
    RETURNING item.item_id)
SELECT count(*) AS in_review_again FROM held HAVING count(*) > 0
