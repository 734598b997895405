-- The service's tables with the same small data every time; times are told from now, so that ages stay the same.
CREATE TABLE users (
    id uuid PRIMARY KEY, username text UNIQUE NOT NULL, email text UNIQUE NOT NULL, hashed_password text NOT NULL,
    role text NOT NULL, is_active boolean NOT NULL DEFAULT true, created_at timestamptz NOT NULL, last_login timestamptz);
CREATE TABLE documents (
    doc_id text PRIMARY KEY, title text NOT NULL, source text NOT NULL, text text NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE sentences (
    id bigint PRIMARY KEY, doc_id text NOT NULL REFERENCES documents, sent_id text NOT NULL, text text NOT NULL,
    UNIQUE (doc_id, sent_id));
CREATE TABLE candidates (
    id bigint PRIMARY KEY, sentence_id bigint NOT NULL REFERENCES sentences, label text NOT NULL, text text NOT NULL,
    confidence real NOT NULL, created_at timestamptz NOT NULL, start_offset integer NOT NULL, end_offset integer NOT NULL);
CREATE INDEX ON candidates (sentence_id);
CREATE TABLE gold_annotations (
    id bigint PRIMARY KEY, sentence_id bigint NOT NULL REFERENCES sentences, label text NOT NULL, annotator_email text,
    created_at timestamptz NOT NULL);
CREATE INDEX ON gold_annotations (sentence_id);
CREATE TABLE triage_items (
    item_id text PRIMARY KEY, sentence_id bigint NOT NULL REFERENCES sentences,
    candidate_id bigint NOT NULL REFERENCES candidates, priority_score real NOT NULL,
    priority_level text NOT NULL CHECK (priority_level IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW', 'MINIMAL')),
    status text NOT NULL CHECK (status IN ('pending', 'in_review', 'completed', 'skipped')),
    assigned_to text, assigned_at timestamptz, completed_at timestamptz, created_at timestamptz NOT NULL);
CREATE INDEX ON triage_items (status, created_at);
CREATE INDEX ON triage_items (sentence_id);
CREATE INDEX ON triage_items (candidate_id);
CREATE TABLE annotation_events (
    id bigint PRIMARY KEY, event_type text NOT NULL, annotator_email text NOT NULL, processing_time real NOT NULL,
    decision text, timestamp timestamptz NOT NULL);
CREATE TABLE auto_accept_rules (id bigint PRIMARY KEY, name text NOT NULL, enabled boolean NOT NULL);
CREATE TABLE auto_accept_decisions (
    id bigint PRIMARY KEY, rule_id bigint NOT NULL REFERENCES auto_accept_rules, item_id text NOT NULL,
    decided_at timestamptz NOT NULL);
CREATE TABLE model_training_runs (id bigint PRIMARY KEY, model text NOT NULL, started_at timestamptz NOT NULL);
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);

INSERT INTO documents
SELECT 'doc' || lpad(n::text, 3, '0'), 'Report ' || n, 'seed',
       'Penaeus vannamei in pond ' || n || ' showed signs of disease.', now() - n * interval '1 day'
FROM generate_series(1, 12) AS n;

INSERT INTO sentences
SELECT (d - 1) * 5 + s, 'doc' || lpad(d::text, 3, '0'), 's' || (s - 1), 'Sentence ' || s || ' of report ' || d || '.'
FROM generate_series(1, 12) AS d, generate_series(1, 5) AS s;

INSERT INTO candidates
SELECT n, n, (ARRAY['PATHOGEN', 'DISEASE', 'TREATMENT', 'MEASUREMENT'])[1 + n % 4], 'candidate ' || n, 0.95,
       now() - interval '4 hours' + n * interval '3 minutes', 0, 8
FROM generate_series(1, 60) AS n;

-- 42 items wait: 38 pending, 4 in review; the oldest for three hours.
INSERT INTO triage_items
SELECT 'item' || lpad(n::text, 3, '0'), n, n, 1.0 - n / 100.0,
       (ARRAY['CRITICAL', 'HIGH', 'HIGH', 'MEDIUM', 'MEDIUM', 'LOW', 'MINIMAL'])[1 + n % 7],
       CASE WHEN n <= 38 THEN 'pending' WHEN n <= 42 THEN 'in_review' ELSE 'completed' END,
       CASE WHEN n > 38 THEN 'annotator1@example.com' END,
       CASE WHEN n > 38 THEN now() - interval '20 minutes' END,
       CASE WHEN n > 42 THEN now() - (60 - n) * interval '2 minutes' END,
       now() - interval '3 hours' + n * interval '2 minutes'
FROM generate_series(1, 60) AS n;

INSERT INTO annotation_events
SELECT n, 'decision', 'annotator' || (1 + n % 2) || '@example.com', 5 + n % 20,
       (ARRAY['accepted', 'modified', 'rejected'])[1 + n % 3], now() - (60 - n) * interval '2 minutes'
FROM generate_series(43, 60) AS n;

INSERT INTO auto_accept_rules VALUES (1, 'confidence above 0.99', true);
INSERT INTO alembic_version VALUES ('0001');
ANALYZE;
