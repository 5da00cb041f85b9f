"""The measures, in the order of the table. Each names the entries that it gives, and gives them when it is run."""

from . import appending, calling, catching_up, idling, journal, library, opening, rotating, storing, tracing, waking

MEASURES = {
    "append": (appending.IDS, appending.measure),
    "idle": (idling.SYNC_IDS, idling.measure_sync),
    "catchup": (catching_up.IDS, catching_up.measure),
    "open": (opening.IDS, opening.measure),
    "search": (journal.SEARCH_IDS, journal.measure_search),
    "query": (journal.QUERY_IDS, journal.measure_query),
    "import": (journal.IMPORT_IDS, journal.measure_import),
    "live": (journal.LIVE_IDS, journal.measure_live),
    "trace": (tracing.IDS, tracing.measure),
    "wake": (waking.IDS, waking.measure),
    "phones": (idling.PHONES_IDS, idling.measure_phones),
    "verify": (storing.IDS, storing.measure),
    "rotate": (rotating.IDS, rotating.measure),
    "calls": (calling.IDS, calling.measure),
    "library": (library.IDS, library.measure),
}


def order():
    return [name for ids, _ in MEASURES.values() for name in ids]


def chosen(only):
    """The measures to run: all, one by its name, or the one that gives an entry."""
    if only is None:
        return list(MEASURES)
    found = [name for name, (ids, _) in MEASURES.items() if only == name or only in ids]
    if not found:
        raise SystemExit(f"bench: no measure {only!r}; there are {', '.join(MEASURES)}, with {', '.join(order())}")
    return found
