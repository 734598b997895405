-- Are all of these items still in review as they were looked at?
-- Then they wait again; else nothing is changed. (No row: nothing was. They are given as rows of the table itself: whatever the types of its columns are.)
WITH seen AS (
    SELECT item_id, assigned_to, assigned_at FROM jsonb_populate_recordset(NULL::triage_items, %(items)s::jsonb)),
held AS (
    SELECT item.item_id
    FROM triage_items AS item JOIN seen ON seen.item_id = item.item_id
    WHERE item.status = 'in_review' AND item.completed_at IS NULL
      AND item.assigned_to IS NOT DISTINCT FROM seen.assigned_to
      AND item.assigned_at IS NOT DISTINCT FROM seen.assigned_at
    FOR UPDATE OF item),
released AS (
    UPDATE triage_items AS item SET status = 'pending', assigned_to = NULL, assigned_at = NULL
    FROM held
    WHERE item.item_id = held.item_id AND (SELECT count(*) FROM held) = (SELECT count(*) FROM seen)
    RETURNING item.item_id)
SELECT count(*) AS released FROM released HAVING count(*) > 0
