"""What answers the routes: read the call, ask the engine, show the answer. One module a subject."""
