//! The pure decision from pod to patch, and its rendering of manifests.
