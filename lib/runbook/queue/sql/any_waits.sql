-- Does any item of the queue wait?
SELECT EXISTS (SELECT FROM triage_items WHERE status IN ('pending', 'in_review')) AS waits
