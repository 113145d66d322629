"""The database, for steps: `from stepwire.data import db, SubscriptionTable`."""

from stepwire.data.session import db
from stepwire.data.tables import BaseTable, SubscriptionTable

__all__ = ["BaseTable", "SubscriptionTable", "db"]
