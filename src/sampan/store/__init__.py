"""State that outlives the daemon: typed documents and the event history, in one SQLite file."""

from sampan.store.database import Database
from sampan.store.documents import Documents, NameTaken
from sampan.store.events import Event, EventLog, Subscription

__all__ = ["Database", "Documents", "Event", "EventLog", "NameTaken", "Subscription"]
