"""The service's log: one JSON object a line on stderr, each with the request that it belongs to."""

import json
import logging
import logging.config
from contextvars import ContextVar
from datetime import UTC, datetime

from bentoml.exceptions import BentoMLException
from pydantic import ValidationError

from feature_repo import environment

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered; threads that work for it see it too."""

FIELDS = "fields"
"""The attribute of a record that holds what goes into its line beside the message."""

LEVELS = ("info", "debug", "warning", "error")


class Line(logging.Formatter):
    """A record as one JSON object: time, level, logger, message, request_id, fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class OurFaultsOnly(logging.Filter):
    """Keeps out what BentoML says of requests that were wrong.

    It logs them as errors, with a trace that holds what was sent: a customer's id, for one.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        if isinstance(fault, BentoMLException):
            return fault.error_code >= 500
        return not isinstance(fault, ValidationError)


def level() -> int:
    """LOOKBOOK_LOG as Python's `logging` has it.

    Raises:
        InputError: it is something else.
    """
    return logging.getLevelNamesMapping()[environment.choice("LOOKBOOK_LOG", LEVELS).upper()]


def configure() -> None:
    """Everything that this process logs, BentoML's lines too, in one form and to one place.

    LOOKBOOK_LOG is debug, info (also each request), warning, or error (failures).

    Raises:
        InputError: LOOKBOOK_LOG is something else.
    """
    wanted = level()

    def at_least(least: int) -> dict[str, object]:
        return {"level": max(wanted, least), "handlers": [], "propagate": True}

    logging.captureWarnings(True)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": Line}},
            "filters": {"ours": {"()": OurFaultsOnly}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["ours"],
                }
            },
            "root": {"level": max(wanted, logging.WARNING), "handlers": ["stderr"]},
            "loggers": {
                "services": at_least(logging.DEBUG),
                "pipelines": at_least(logging.DEBUG),
                "bentoml": at_least(logging.INFO),
                "uvicorn.error": at_least(logging.WARNING),
                # What libraries say of one another.
                "py.warnings": at_least(logging.ERROR),
            },
        }
    )
