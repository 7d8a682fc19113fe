//! Mesh mTLS for both planes: credentials, verifier, server, client.
