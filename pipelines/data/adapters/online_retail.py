"""UCI "Online Retail" (Daqing Chen, 2015): one file with a line for each article on an invoice.

The description, to the last blank, is the article's identity: there is no stock code, and trimmed
eleven would fall together with others (3,866 instead of 3,877). The country stands for the postal
code, prices are GBP. Lines without a customer, returns and lines without a price are set aside;
age, colour and product group are not in the data and stay unknown.
"""

from pipelines.data.adapters import LoadError, Source

COLUMNS = ("Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")


def read(source: Source) -> dict[str, str]:
    """Map the invoice lines to articles, customers and transactions.

    A customer with several countries has the first one, by the time of the purchase and then by
    name: no later line changes what was true before it. `article_id` is ten digits from the MD5 of
    the description: the same in every load, on every machine.

    Raises:
        LoadError: the file cannot be opened, or two descriptions get the same article_id.
    """
    lines = f"""(
        SELECT *, CASE
            WHEN CustomerID IS NULL OR isnan(CustomerID) THEN 'no customer'
            WHEN Quantity <= 0 THEN 'returned: the quantity is negative'
            WHEN UnitPrice <= 0 THEN 'no price: zero or less'
            END AS reason,
            Description AS name,
            lpad(CAST(md5_number_lower(Description) % 10000000000 AS VARCHAR), 10, '0') AS article,
            CASE WHEN NOT isnan(CustomerID) THEN CAST(CAST(CustomerID AS BIGINT) AS VARCHAR) END
                AS customer
        FROM {source.rows(columns=COLUMNS)})"""
    clash = source.con.execute(
        f"""SELECT article, min(name), max(name) FROM {lines} WHERE reason IS NULL
        GROUP BY article HAVING count(DISTINCT name) > 1"""
    ).fetchone()
    if clash:
        raise LoadError(
            f"{source.path}: the descriptions {clash[1]!r} and {clash[2]!r} get the same "
            f"article_id {clash[0]}: change one of them."
        )
    return {
        "articles": f"""
            SELECT article AS article_id, trim(name) AS prod_name,
                min(_file) AS _file, min(_line) AS _line
            FROM {lines} WHERE reason IS NULL GROUP BY ALL""",
        "customers": f"""
            SELECT customer AS customer_id, Country AS postal_code, _file, _line
            FROM {lines} WHERE reason IS NULL
            QUALIFY row_number() OVER (
                PARTITION BY customer ORDER BY InvoiceDate, Country, _line) = 1""",
        "transactions": f"""
            SELECT CAST(InvoiceDate AS DATE) AS t_dat, customer AS customer_id,
                article AS article_id, UnitPrice AS price, 2 AS sales_channel_id,
                Quantity AS quantity, reason AS _set_aside, _file, _line
            FROM {lines}""",
    }
