-- articles: one row per article, attributes as last delivered.
SELECT
{%- for column in raw_tables.articles.column_names %}
    {{ column }}{{ "," if not loop.last }}
{%- endfor %}
FROM raw.articles
