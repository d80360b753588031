"""What the integration tests are made of: namespaces, the daemon, backends, raw HTTP/1."""
