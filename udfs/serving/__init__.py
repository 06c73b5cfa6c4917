"""The server: HTTP and Quack for many clients over one session, with tokens and limits. Needs the extra `serve`."""
