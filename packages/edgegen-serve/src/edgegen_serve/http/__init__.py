"""HTTP: the ASGI application, authentication, connections and the chat page."""
