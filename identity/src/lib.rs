//! The shared-trust issuer: token to CSR to certificate.
