-- interactions: events of customers from `pushed_rows`, as lists that go together by position, into the
-- raw tables and on to staging. An event is there if one agrees in what is pushed of it, and stays as it is; of
-- a new one all else is unknown. Who or what no table knows gets a row, as when events are loaded.
CREATE OR REPLACE TEMP TABLE pushed_events AS
WITH events AS (
    SELECT
        customer_id,
        unnest(session_moments) AS moment,
        unnest(session_kinds) AS kind,
        unnest(session_articles) AS article_id
    FROM pushed_rows
),

typed AS (
    SELECT
        make_timestamp(CAST(moment AS BIGINT)) AS event_time,
        customer_id,
        article_id,
        kind
    FROM events
),

final AS (
    SELECT DISTINCT *
    FROM typed
    WHERE
        CASE
            WHEN
                customer_id <> ''
                AND event_time < current_date + 1
                AND kind <> 'impression'
                {%- for column in raw_tables.interactions.columns if column.required %}
                AND {{ column.name }} IS NOT NULL
                {%- if column.pattern %}
                AND regexp_full_match({{ column.name }}, '{{ column.pattern }}')
                {%- endif %}
                {%- if column.values %}
                AND {{ column.name }} IN ('{{ column.values | join("', '") }}')
                {%- endif %}
                {%- endfor %}
                THEN true
            ELSE error(
                'A pushed event must have a customer, an article of ten digits, a kind that is no impression and '
                'a moment that has been, in lists of equal lengths: ' || CAST(typed AS VARCHAR)
            )
        END
)

SELECT * FROM final;

INSERT INTO raw.customers BY NAME
SELECT DISTINCT
    customer_id,
    true AS from_transactions
FROM pushed_events
ANTI JOIN raw.customers USING (customer_id);

INSERT INTO raw.articles BY NAME
SELECT DISTINCT
    article_id,
    true AS from_transactions
FROM pushed_events
ANTI JOIN raw.articles USING (article_id);

-- What comes in now is later than all that is there, also where a clock has gone back.
INSERT INTO raw.interactions BY NAME
SELECT
    pushed_events.*,
    greatest(
        CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP),
        (SELECT max(known_at) + INTERVAL 1 MICROSECOND FROM raw.interactions)
    ) AS known_at
FROM pushed_events
ANTI JOIN raw.interactions USING (event_time, customer_id, article_id, kind)
ORDER BY event_time, customer_id, article_id;

INSERT INTO staging.actions BY NAME
{% include "staging/actions.sql" %}
ORDER BY customer_id, event_time
