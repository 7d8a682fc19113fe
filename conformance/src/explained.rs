//! What does not pass, and why that is right.

/// Beginning of a suite's name, a case, why.
pub(crate) const EXPLAINED: &[(&str, &str, &str)] = &[(
    "h2spec, outbound",
    "http2/3.5 Sends invalid connection preface",
    "The sidecar tells protocols apart by their first bytes. These are not HTTP/2's, so they go to \
     the application as they are, and it answers.",
)];

/// Why a case of a suite may fail.
pub(crate) fn why(suite: &str, case: &str) -> Option<&'static str> {
    EXPLAINED
        .iter()
        .find(|(of, name, _)| suite.starts_with(of) && case == *name)
        .map(|(_, _, why)| *why)
}
