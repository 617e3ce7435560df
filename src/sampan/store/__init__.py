"""State that outlives the daemon: typed documents and the event history, in one SQLite file."""

from sampan.store.database import Database, DiskFull
from sampan.store.documents import Documents, NameTaken
from sampan.store.events import Event, EventLog, Subscription

__all__ = ["Database", "DiskFull", "Documents", "Event", "EventLog", "NameTaken", "Subscription"]
