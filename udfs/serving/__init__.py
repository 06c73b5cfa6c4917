"""One warehouse, many clients: HTTP and Quack over one session, with tokens and limits. Needs the extra `serve`."""
