-- Who annotated in the last hours, how much and how fast, and who did a day and a week before?
SELECT period.name AS period,
       event.annotator_email::text AS annotator,
       count(*) AS annotations,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY event.processing_time)
           FILTER (WHERE event.processing_time >= 0 AND event.processing_time < 'Infinity'::real) AS median_seconds,
       count(*) FILTER (WHERE event.processing_time < 0) AS backwards,
       max(event.timestamp) AS newest
FROM (VALUES ('now', interval '0'), ('a day before', interval '1 day'), ('a week before', interval '7 days'))
     AS period (name, ago)
JOIN annotation_events AS event
  ON event.timestamp > now() - period.ago - %(hours)s * interval '1 hour' AND event.timestamp <= now() - period.ago
GROUP BY period.name, event.annotator_email
ORDER BY period.name DESC, annotations DESC, annotator
LIMIT %(most)s
